#!/usr/bin/env bash
# What sharing prefixes gives and costs, on random 135M-shaped models and the demo model. Fails if a
# bar is missed. Arguments go to prefix_bench, for example: --only sessions --session-rounds 3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --build --preset release --target prefix_bench make_random_model > /dev/null
for shape in 135m llava-135m; do
  model=build/release/random-$shape
  [ -f "$model/model.safetensors" ] ||
    build/release/bin/make_random_model --shape "$shape" --out "$model" --seed 1
done
build/release/bin/prefix_bench --text-model build/release/random-135m \
  --vision-model build/release/random-llava-135m --demo models/demo \
  --picture models/demo/pictures/picture-15.png --check "$@"
