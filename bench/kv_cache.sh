#!/usr/bin/env bash
# The classic experiment on a random GPT-2 of 124M parameters: the same tokens with and without a KV
# cache. Fails unless all tokens are equal and the ratio of the times is at least LEAST.
#
# Usage: bench/kv_cache.sh [NEW_TOKENS] [LEAST]     default 1000, 10; in CI 128, 3
# PREFIXD_BUILD names the build folder (default build/release).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${PREFIXD_BUILD:-$root/build/release}
tokens=${1:-1000}
least=${2:-10}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$build/bin/make_random_model" --shape gpt2-124m --out "$work/gpt2-124m" >/dev/null
"$build/bin/prefixctl" experiment kv-cache --model "$work/gpt2-124m" --kv-memory 512MiB \
  --prompt "What is KV caching?" --new-tokens "$tokens" --repeat 1 2>/dev/null | tee "$work/report"
grep -q "^tokens  *$tokens of $tokens equal" "$work/report"
awk -v least="$least" '/^ratio/ {found = 1; if ($2 + 0 < least) exit 1} END {exit !found}' "$work/report"
