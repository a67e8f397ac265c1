#!/usr/bin/env bash
# What KV budgets give and cost, on random models and the demo model. Fails if a bar is missed.
# Arguments go to retention_bench, for example: --only decode --decode-rounds 3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --build --preset release --target retention_bench make_random_model > /dev/null
for shape in 135m llava-135m llava-7b-profile many-kv-heads; do
  model=build/release/random-$shape
  [ -f "$model/model.safetensors" ] ||
    build/release/bin/make_random_model --shape "$shape" --out "$model" --seed 1
done
# The committed profiles are of models with 32 and 40 layers; an engine takes those of its own.
profiles=build/release/profiles-7b
mkdir -p "$profiles"
cp tests/golden/retention/confs/prefixkv_llava-v1.5-7b_*.json "$profiles"
build/release/bin/retention_bench --models build/release --demo models/demo \
  --profiles "$profiles" --picture models/demo/pictures/picture-15.png --check "$@"
