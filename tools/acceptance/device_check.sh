#!/usr/bin/env bash
# A first look at a card, under 8 minutes: env, ceilings, kernels (conformance in its quick form),
# engine, a short roofline. Reports go to $OUT, or to build/device_check.
#
# Usage: tools/acceptance/device_check.sh [BUILD_DIR]
# A folder (build/acceptance) that holds the programs is used as it is, else they are built there
# with all processors. pack.sh packs them for a machine that cannot build.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${OUT:-$root/build/device_check}
build=${1:-$root/build/acceptance}
mkdir -p "$out"
source "$root/tools/acceptance/card_libraries.sh" "$root"
[[ -f $root/revision ]] && export PREFIXD_REVISION=${PREFIXD_REVISION:-$(<"$root/revision")}

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
