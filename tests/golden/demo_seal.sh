#!/usr/bin/env bash
# The seal of what belongs to the checkpoint in models/demo: SHA-256 of the checkpoint and of everything made from it.
#   demo_seal.sh write         writes tests/golden/demo_seal.sha256; the last step of tests/golden/make/all.sh
#   demo_seal.sh check [ROOT]  fails with the names of the files that were changed, added or lost since (in ROOT, a checkout)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
command=${1:-}
cd "${2:-$here}"

digests() {
  find models/demo docs/evaluation_demo tests/golden -type f \( \
    -path 'models/demo/*' ! -path 'models/demo/recipe/*' ! -name README.md ! -name class_names.txt \
    -o -path 'docs/evaluation_demo/*' ! -name README.md \
    -o -path tests/golden/models/demo.safetensors -o -path tests/golden/beam_search.json \
    -o -path 'tests/golden/evaluation*.json' -o -path tests/golden/half_precision.json \
    -o -path 'tests/golden/retention/demo*' -o -path tests/golden/chat_templates.json \
    -o -path tests/golden/conversations.json -o -path tests/golden/tokenizer/demo.ids.json \) \
    -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}

case $command in
  write) digests > tests/golden/demo_seal.sha256 ;;
  check)
    if ! diff tests/golden/demo_seal.sha256 <(digests); then
      echo "the files above do not belong to the checkpoint in models/demo: tests/golden/make/all.sh makes them anew" >&2
      exit 1
    fi
    ;;
  *)
    echo "usage: $0 write | check [ROOT]" >&2
    exit 2
    ;;
esac
