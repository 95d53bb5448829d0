#!/usr/bin/env bash
# What each source of negatives brings, in small networks after a short training: seeds 0 to 2, one core for each run, one to two
# minutes each. Names of sources as arguments run these alone. Then: rff report runs/study_negatives/*
set -euo pipefail
cd "$(dirname "$0")/../../.."
export OMP_NUM_THREADS=1
python=${PYTHON:-.venv/bin/python}
folder=${FOLDER:-runs/study_negatives}

adam='optimizer = { name = "adam", learning_rate = 1e-3 }'
label="{ name = \"readout\", $adam }"
hybrid="{ name = \"hybrid\", $adam }"
generated="{ name = \"generated\", $adam }"
quiet_hybrid='{ name = "hybrid", trains_readout = false }' # one source of a mixture trains the readout
quiet_generated='{ name = "generated", trains_readout = false }'

run() { # name, seed, then flags
  local name=$1 seed=$2
  shift 2
  "$python" -m RecurrentFF train mnist --config-file mnist_raw --seed "$seed" --epochs 5 --output-dir "$folder/$name" \
    --set data.train_samples=20000 --set 'network.hidden_sizes=[500, 250]' --set device.precision=float32 "$@"
}

for name in "${@:-label hybrid label-hybrid generated label-hybrid-generated}"; do
  for source in $name; do
    for seed in 0 1 2; do
      case $source in
        label) run "$source" "$seed" --set "negatives=$label" ;;
        hybrid) run "$source" "$seed" --set "negatives=$hybrid" --set network.prediction=readout ;;
        generated) run "$source" "$seed" --set generative.name=reconstruction --set "negatives=$generated" --set network.prediction=readout ;;
        label-hybrid) run "$source" "$seed" --set "negatives={ name = \"mixture\", sources = [$label, $quiet_hybrid] }" ;;
        label-hybrid-generated)
          run "$source" "$seed" --set generative.name=reconstruction \
            --set "negatives={ name = \"mixture\", sources = [$label, $quiet_hybrid, $quiet_generated] }" ;;
        *) echo "unknown source: $source" >&2; exit 2 ;;
      esac
    done
  done
done
