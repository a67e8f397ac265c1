#!/usr/bin/env bash
# A first look at a card, under 8 minutes: env, ceilings, kernels (conformance in its quick form),
# engine, a short roofline. Reports go to $OUT, or to build/device_check.
#
# Usage: tools/acceptance/device_check.sh [BUILD_DIR]
# A folder (build/acceptance) that holds the programs is used as it is, else they are built there
# with all processors. To carry them to a machine with a card, build them for that card alone and
# strip them:
#   cmake --preset release -B build/acceptance -DPREFIXD_CUDA=ON -DPREFIXD_CUDA_ARCHITECTURES=90-real
#   cmake --build build/acceptance --target gpu_acceptance gpu_acceptance_tests
#   strip build/acceptance/{acceptance/gpu_acceptance,tests/cuda_card_*,lib/prefixd/*.so}
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${OUT:-$root/build/device_check}
build=${1:-$root/build/acceptance}
mkdir -p "$out"

stages=(env ceilings kernels engine roofline)
if [[ ! -x $build/acceptance/gpu_acceptance || ! -x $build/tests/cuda_card_conformance_test ]]; then
  # The stage that needs all programs builds them.
  timeout 300 "$root/tools/gpu_acceptance" --build "$build" --out "$out" --quick --stage kernels
  stages=(env ceilings engine roofline)
fi
for stage in "${stages[@]}"; do
  timeout 150 "$root/tools/gpu_acceptance" --no-build --build "$build" --out "$out" --quick \
    --stage "$stage"
done
rm -rf "$out/tiny-llava"
cat "$out/report.md"
passed=$(grep -l '"outcome": "passed"' "$out"/{env,ceilings,kernels,engine,roofline}.json | wc -l)
exit $((5 - passed))
