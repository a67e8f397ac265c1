#!/usr/bin/env bash
# A first look at a card, under 8 minutes: env, ceilings, kernels (the conformance suite in its quick
# form), engine, a short roofline. Reports go to $OUT, or to build/device_check.
# Usage: tools/acceptance/device_check.sh [BUILD_DIR]; a folder that holds the built programs is used
# as it is, else it is built there (build/acceptance) with all processors.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${OUT:-$root/build/device_check}
build=${1:-$root/build/acceptance}
mkdir -p "$out"

first=()
if [[ -x $build/acceptance/gpu_acceptance && -x $build/tests/cuda_card_conformance_test ]]; then
  first=(--no-build)
else
  # One build for all stages.
  timeout 270 "$root/tools/gpu_acceptance" --build "$build" --out "$out" --quick --stage kernels
  first=(--no-build)
fi
failed=0
for stage in env ceilings kernels engine roofline; do
  [[ $stage == kernels && -e $out/kernels.json ]] && continue
  timeout 150 "$root/tools/gpu_acceptance" "${first[@]}" --build "$build" --out "$out" --quick \
    --stage "$stage" || failed=$((failed + 1))
done
[[ -e $out/kernels.json ]] && grep -q '"outcome": "failed"' "$out/kernels.json" && failed=$((failed + 1))
rm -rf "$out"/tiny-llava
cat "$out/report.md"
exit "$failed"
