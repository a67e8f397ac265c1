#!/usr/bin/env bash
# The files made from models/demo belong to it, and demo_seal.sh notices a changed, an added and a lost one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seal=tests/golden/demo_seal.sh
$seal check

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cut -c67- tests/golden/demo_seal.sha256 | xargs cp --parents -t "$copy" tests/golden/demo_seal.sha256
$seal check "$copy"

notices() { # the file that must be named
  if output=$($seal check "$copy" 2>&1) || [[ "$output" != *"$1"* ]]; then
    echo "not noticed: $1; it said: $output" >&2
    exit 1
  fi
}
weights=models/demo/model.safetensors
printf x | dd of="$copy/$weights" bs=1 seek=4096 conv=notrunc status=none
notices $weights
cp $weights "$copy/$weights"
touch "$copy/models/demo/pictures/picture-99.png"
notices picture-99.png
rm "$copy/models/demo/pictures/picture-99.png" "$copy/tests/golden/retention/demo-3.json"
notices demo-3.json
