#!/usr/bin/env bash
# Decode of a random 135M-shaped Llama in bf16 against a memory-read probe of the same run.
# Fails under a ratio of 0.5. Arguments go to decode_bench, for example: --level avx2 --threads 1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --build --preset release --target decode_bench make_random_model > /dev/null
model=build/release/random-135m
[ -f "$model/model.safetensors" ] ||
  build/release/bin/make_random_model --shape 135m --out "$model" --seed 1
build/release/bin/decode_bench --model "$model" --floor 0.5 "$@"
