#!/usr/bin/env bash
# The long form of the simulation: 20,000 seeds, every planted bug, small worlds to depth 12.
# Arguments replace the number of seeds and the first one: tests/simulation/run.sh 100000 20001
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/common.sh
source deploy/common.sh

seeds="${1:-20000}"
first="${2:-1}"
configure_and_build release simulation
simulation=build/release/bin/simulation

say "1/3 ${seeds} seeds from ${first}"
"$simulation" --seeds "$seeds" --first "$first" --jobs "$(nproc)" --marks
say "2/3 planted bugs"
"$simulation" --all-bugs --seeds 2000 --jobs "$(nproc)"
say "3/3 small worlds (after $(elapsed))"
"$simulation" --exhaustive 12
