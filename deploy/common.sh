# shellcheck shell=bash
# Functions that the repository's scripts share. Sourced, not run.

# Progress goes to stderr, so that a script's own output can be piped.
say() { printf '%s\n' "== $*" >&2; }

fail() {
  printf '%s\n' "$(basename "$0"): failed: $*" >&2
  exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo > /dev/null; then
    sudo "$@"
  else
    fail "this needs root and there is no sudo; run as root: $*"
  fi
}

# Seconds since the script started.
elapsed() { printf '%d s' "$SECONDS"; }

# configure_and_build PRESET [TARGET...]: configures build/PRESET, with the CMake arguments in
# PREFIXD_CMAKE_ARGUMENTS (words), and builds the targets (default: all). Configuring again is cheap and notices new files. A build folder of another checkout, or of
# another CMake, is refused by CMake itself, which says so.
configure_and_build() {
  local preset=$1
  shift
  export NINJA_STATUS='[%f/%t %es] '
  local log
  log=$(mktemp)
  local arguments=()
  read -ra arguments <<< "${PREFIXD_CMAKE_ARGUMENTS:-}"
  if ! cmake --preset "$preset" -Wno-dev "${arguments[@]}" > "$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    fail "configuring build/$preset (see above; removing build/$preset starts afresh)"
  fi
  rm -f "$log"
  if [ $# -gt 0 ]; then
    cmake --build --preset "$preset" --target "$@" >&2 || fail "building $* in build/$preset"
  else
    cmake --build --preset "$preset" >&2 || fail "building build/$preset"
  fi
}
