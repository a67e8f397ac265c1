#!/usr/bin/env bash
# A thousand streams over gRPC of which half stall, on a random model with a long context; about five
# minutes. Fails if the others' messages come later than 1.2 times as without them (99th percentile),
# if a stalled stream holds more than 256 KiB, or if it does not end after 30 s with SLOW_READER.
# Arguments go to slow_readers_bench, for example: --rounds 1 --readers 100 --stalled 100
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --build --preset release --target slow_readers_bench prefixd make_random_model > /dev/null
model=build/release/random-tiny-long
build/release/bin/make_random_model --shape tiny-llama --out "$model" --seed 1
sed -i 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 8192/' "$model/config.json"
folder=$(mktemp -d)
build/release/bin/prefixd --model "$model" --listen 127.0.0.1:0 --port-file "$folder/port" \
  --kv-memory 1GiB --max-running 1024 --max-batch-tokens 2048 --max-queue 2048 \
  --slow-reader-timeout 30s --default-deadline 10m --log-level error &
daemon=$!
trap 'kill "$daemon" 2> /dev/null; wait "$daemon" || true; rm -rf "$folder"' EXIT
until [ -s "$folder/port" ]; do sleep 0.1; done
build/release/bin/slow_readers_bench --check --server "127.0.0.1:$(cat "$folder/port")" \
  --pid "$daemon" --timeout 30 "$@"
