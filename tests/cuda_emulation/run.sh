#!/usr/bin/env bash
# The long form of the emulated CUDA tests: the conformance suite with threads ascending, descending
# and in 20 random orders, once under the race detector, and all tests of the label `cuda` under
# AddressSanitizer and UBSan. About 25 minutes on two cores. Continuous integration runs one order.
#   tests/cuda_emulation/run.sh [--orders N] [--no-sanitizers]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/common.sh
source deploy/common.sh

orders=20
sanitizers=yes
while [ $# -gt 0 ]; do
  case $1 in
    --orders) orders=$2 && shift 2 ;;
    --no-sanitizers) sanitizers=no && shift ;;
    *) fail "usage: $0 [--orders N] [--no-sanitizers]" ;;
  esac
done

deploy/install_packages.sh --tests
say "build"
configure_and_build release cuda_conformance_test cuda_conformance_test_raced
tests=build/release/tests

# The harness leaves tests of the bits of batches out where they do not apply.
run_order() {
  PREFIXD_CUDA_ORDER=$1 "$tests/$2" </dev/null >"build/release/conformance-$1-$2.log" 2>&1 ||
    { tail -n 40 "build/release/conformance-$1-$2.log"; echo "order $1 of $2 failed"; return 1; }
  echo "order $1 of $2: $(grep -c '^\[       OK' "build/release/conformance-$1-$2.log") passed"
}
export -f run_order
export tests
say "conformance, $((orders + 2)) orders and the race detector"
{
  echo "7 cuda_conformance_test_raced"
  echo "ascending cuda_conformance_test"
  echo "descending cuda_conformance_test"
  for seed in $(seq 1 "$orders"); do echo "$seed cuda_conformance_test"; done
} | xargs -P 2 -L 1 bash -c 'run_order "$@"' run_order

if [ "$sanitizers" = yes ]; then
  .ci/sanitize.sh asan -L cuda
fi
say "done after $(elapsed)"
