#!/usr/bin/env bash
# What a steady tenant keeps beside one that floods the engine, on the demo model; about two minutes.
# Fails under 0.95 of its goodput, 0.9 of its hit rate, a Jain's index of 0.95, or if tenants share.
# Arguments go to fairness_bench, for example: --level avx2 --rounds 3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --build --preset release --target fairness_bench > /dev/null
build/release/bin/fairness_bench --check "$@"
