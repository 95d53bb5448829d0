#!/usr/bin/env bash
# What each ingredient of the fast recipe brings: one changed at a time, half the epochs, seeds 0 to 2, one core for each run.
# 18 runs of about a minute where bfloat16 is fast, else three to four. Then: python -m RecurrentFF.benchmarks.report runs/study_edges/* --csv docs/results/logs/study.csv
set -euo pipefail
cd "$(dirname "$0")/../../.."
export OMP_NUM_THREADS=1
python=${PYTHON:-.venv/bin/python}

jobs() { # lines of: name, then flags
  cat <<'JOBS'
fast-recipe
threshold-objective --set model.objective=threshold
uniform-negatives --set model.should_replace_neg_data=false
no-averaging --set model.weight_averaging=0
pixels --set data_config.edge_directions=0
no-distortion --set data_config.rotation=0 --set data_config.scaling=0 --set data_config.shift=0
JOBS
}

jobs | while read -r name flags; do
  for seed in 0 1 2; do
    echo "$seed runs/study_edges/$name${flags:+ $flags}" # xargs would join a line that ends in a blank to the next
  done
done | xargs -P 2 -L 1 bash -c 'seed=$1; folder=$2; shift 2
  grep -qs "\"seed\": $seed," "$folder"/*/summary.json && exit 0 # it is there already
  exec "$0" -m RecurrentFF.benchmarks.mnist.mnist --epochs 3 --seed "$seed" --output-dir "$folder" "$@" >/dev/null' "$python"
