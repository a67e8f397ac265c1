#!/usr/bin/env bash
# Installs what the tests need, builds everything and runs every test. Arguments go to ctest, for
# example: tests/run.sh -R cache
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/common.sh
source deploy/common.sh

say "1/4 packages"
deploy/install_packages.sh --tests

say "2/4 includes"
python3 .ci/check_includes.py || fail "an include breaks the layering of docs/design.md, section 2"

say "3/4 build"
configure_and_build release

say "4/4 tests (after $(elapsed))"
# The summary of ctest is the last thing shown; its status is ours.
ctest --test-dir build/release --output-on-failure --no-tests=error -j2 "$@"
