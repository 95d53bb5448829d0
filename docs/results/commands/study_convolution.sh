#!/usr/bin/env bash
# The measurements of docs/guides/convolution.md: the recipe of Moving MNIST with 15,000 digits, 4 epochs and one change, one core for
# each run, two minutes each. Names of changes as arguments run these alone. Then: rff report runs/study_convolution/*
set -euo pipefail
cd "$(dirname "$0")/../../.."
export OMP_NUM_THREADS=1
python=${PYTHON:-.venv/bin/python}
folder=${FOLDER:-runs/study_convolution}

shape='input_channels = 8, channels = 128, kernel_size = 10, stride = 3, padding = 0'
shared='name = "convolution", sources = ["forward", "label"]'
none='{ name = "none", sources = ["lateral"] }'

run() { # name, connections, then flags
  local name=$1 connections=$2
  shift 2
  "$python" -m RecurrentFF train moving_mnist --output-dir "$folder/$name" --seed "${SEED:-0}" --epochs 4 \
    --set data.train_samples=15000 --set data.test_samples=100 --set "network.connections=[$connections]" "$@"
}

for name in ${@:-exponent-4 exponent-1 exponent-8 mean-alpha-64 lateral label-by-position damping centered exponent-2}; do
  recipe="{ $shared, $shape, position_exponent = 4.0 }, $none"
  case $name in
    exponent-*) run "$name" "{ $shared, $shape, position_exponent = ${name#exponent-} }, $none" ;;
    mean-alpha-64) run "$name" "{ $shared, $shape }, $none" --set objective.alpha=64 ;;
    lateral) run "$name" "{ $shared, $shape, position_exponent = 4.0 }" ;; # full lateral weights
    damping) run "$name" "$recipe" --set network.damping_factor=0.7 ;;
    label-by-position) run "$name" "{ name = \"convolution\", sources = [\"forward\"], $shape, position_exponent = 4.0 }, $none" ;;
    centered) run "$name" "$recipe" --set transform.centered=true ;;
    *) echo "unknown change: $name" >&2; exit 2 ;;
  esac
done
