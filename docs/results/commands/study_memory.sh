#!/usr/bin/env bash
# What each kind of memory brings on pen strokes whose input has none: small networks after a short training, seeds 0 to 2, one core
# for each run, half a minute each. Names of variants as arguments run these alone. Then: rff report runs/study_memory/*
# All results are those on validation digits.
set -euo pipefail
cd "$(dirname "$0")/../../.."
export OMP_NUM_THREADS=1
python=${PYTHON:-.venv/bin/python}
folder=${FOLDER:-runs/study_memory}

variants="recurrence damping-0.3 damping-1 last-timestep all-timesteps time-constants eligibility lateral-traces fast-weights \
layer-traces late-recurrence sum leaky leaky-sum oscillating legendre"

# The label is shown from the third timestep on, so that layers learn while the pen writes.
early=(--set network.prelabel_timesteps=2 --set network.label_timesteps=11 --set objective.alpha=8.0)
window=(--set 'network.prediction_window=[5, 10]')
none=(--set 'network.connections=[]')

run() { # name, seed, then flags
  local name=$1 seed=$2
  shift 2
  "$python" -m RecurrentFF train seq_mnist --config-file seq_mnist_memory --seed "$seed" --epochs 3 --output-dir "$folder/$name" \
    --set data.train_samples=10000 --set data.validation_samples=3000 --set data.test_samples=100 "$@"
}

connection() { # the options of one kind of connection, without its name's braces
  echo "network.connections=[{ $1 }]"
}

for name in ${@:-$variants}; do
  for seed in ${SEEDS:-0 1 2}; do
    case $name in
      recurrence) run "$name" "$seed" "${early[@]}" "${window[@]}" "${none[@]}" ;;
      damping-0.3) run "$name" "$seed" "${early[@]}" "${window[@]}" "${none[@]}" --set network.damping_factor=0.3 ;;
      damping-1) run "$name" "$seed" "${early[@]}" "${window[@]}" "${none[@]}" --set network.damping_factor=1.0 ;;
      last-timestep) run "$name" "$seed" "${early[@]}" --set 'network.prediction_window=[10, 10]' "${none[@]}" ;;
      all-timesteps) run "$name" "$seed" "${early[@]}" --set 'network.prediction_window=[0, 10]' "${none[@]}" ;;
      time-constants) run "$name" "$seed" "${early[@]}" "${window[@]}" "${none[@]}" --set 'network.time_constants=[1.0, 16.0]' ;;
      eligibility) run "$name" "$seed" "${early[@]}" "${window[@]}" --set "$(connection 'name = "eligibility", decay = 0.3')" ;;
      lateral-traces)
        run "$name" "$seed" "${early[@]}" "${window[@]}" \
          --set "$(connection 'name = "traces", time_constants = [1.0, 4.0, 16.0], weight_scale = 0.3')" ;;
      fast-weights) run "$name" "$seed" "${early[@]}" "${window[@]}" --set "$(connection 'name = "fast_weights"')" ;;
      layer-traces)
        run "$name" "$seed" "${early[@]}" "${window[@]}" \
          --set "$(connection 'name = "traces", sources = ["forward"], layers = [2], time_constants = [1.0, 8.0]')" ;;
      late-recurrence) run "$name" "$seed" "${none[@]}" ;;
      sum) run "$name" "$seed" --set "$(connection 'name = "traces", sources = ["forward"], layers = [1], time_constants = [], accumulate = true')" ;;
      leaky) run "$name" "$seed" --set "$(connection 'name = "traces", sources = ["forward"], layers = [1], time_constants = [2.0, 8.0]')" ;;
      leaky-sum) run "$name" "$seed" ;;
      oscillating)
        run "$name" "$seed" --set "$(connection 'name = "traces", sources = ["forward"], layers = [1], memory = "oscillating", time_constants = [16.0, 16.0], periods = [13.0, 1000.0]')" ;;
      legendre)
        run "$name" "$seed" --set "$(connection 'name = "traces", sources = ["forward"], layers = [1], memory = "legendre", order = 3, window = 13.0')" ;;
      *) echo "unknown variant: $name" >&2; exit 2 ;;
    esac
  done
done
