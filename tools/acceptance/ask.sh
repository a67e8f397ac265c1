#!/usr/bin/env bash
# Asks the demo model on the card a question, with what pack.sh carried here: starts a daemon, asks,
# stops it. The daemon's log is beside this file.
#
# Usage: ask.sh QUESTION [PICTURE]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/tools/acceptance/card_libraries.sh" "$here"
question=${1:?a question}
picture=${2:-$here/models/demo/pictures/picture-01.png}
address=127.0.0.1:${PORT:-50751}

"$here/build/bin/prefixd" --model "$here/models/demo" --backend cuda --listen "$address" \
  >"$here/prefixd.log" 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null; wait "$daemon" 2>/dev/null || true' EXIT
for _ in $(seq 120); do
  "$here/build/bin/prefixctl" --server "$address" health >/dev/null 2>&1 && break
  kill -0 "$daemon" 2>/dev/null || { tail -n 5 "$here/prefixd.log" >&2; exit 1; }
  sleep 0.5
done
"$here/build/bin/prefixctl" --server "$address" version
"$here/build/bin/prefixctl" --server "$address" run --image "$picture" "$question"
