#!/usr/bin/env bash
# What ranking a thousand names over one cached context costs, on a random 135M-shaped model, and
# what shared demonstrations give, on the demo model. Fails if a bar is missed. Arguments go to
# classification_bench, for example: --only names --level avx2, or --activations bf16
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --build --preset release --target classification_bench make_random_model > /dev/null
model=build/release/random-135m
[ -f "$model/model.safetensors" ] ||
  build/release/bin/make_random_model --shape 135m --out "$model" --seed 1
build/release/bin/classification_bench --text-model "$model" --demo models/demo \
  --names bench/class_names.txt --check "$@"
