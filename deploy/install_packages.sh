#!/usr/bin/env bash
# Installs the Debian packages that the build needs, and with --tests those of the tests too, with
# --pip those that fetching a model needs (fetch_smollm2.sh).
# Asks dpkg first: where all are there, nothing is fetched and no root is needed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/common.sh
source "$here/common.sh"

lists=("$here/packages.txt")
case "${1:-}" in
  '') ;;
  --tests) lists+=("$here/packages_test.txt") ;;
  --pip) lists+=("$here/packages_pip.txt") ;;
  *)
    echo "usage: $0 [--tests | --pip]" >&2
    exit 2
    ;;
esac

command -v dpkg-query > /dev/null ||
  fail "this is not a Debian system; install what is listed in ${lists[*]} by hand"

mapfile -t wanted < <(grep -hv '^#' "${lists[@]}")
missing=()
for package in "${wanted[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
  say "packages: all ${#wanted[@]} are installed"
  exit 0
fi

say "packages: installing ${#missing[@]} of ${#wanted[@]}: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install_missing() {
  as_root apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      "${missing[@]}"
}
install_missing >&2 || {
  say "packages: that failed, trying once more in 5 s"
  sleep 5
  install_missing >&2 || fail "apt-get could not install: ${missing[*]}"
}
