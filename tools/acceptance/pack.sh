#!/usr/bin/env bash
# Packs what a machine with a card needs to run tools/acceptance/device_check.sh and the daemon, into
# one tar: programs for one kind of card, stripped, with the libraries that are not the system's. Of
# CUDA only libcublasLt.so.13 is not in it (540 MB).
#
# Usage: tools/acceptance/pack.sh [--arch 90] [--build DIR] [--no-build] [--out FILE.tar.gz]
#
# There:
#   tar xf FILE.tar.gz && prefixd-card/tools/acceptance/device_check.sh prefixd-card/build
#   prefixd-card/ask.sh "What do you see?" [PICTURE]   # of the demo model, on the card
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
arch=90
build=$root/build/acceptance
out=$root/build/prefixd-card.tar.gz
make=yes
while (($#)); do
  case $1 in
    --help | -h) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --no-build) make=no; shift; continue ;;
    --arch | --build | --out) ;;
    *) echo "unknown option $1; --help lists them" >&2; exit 1 ;;
  esac
  (($# >= 2)) || { echo "$1 needs a value" >&2; exit 1; }
  case $1 in
    --arch) arch=$2 ;;
    --build) build=$2 ;;
    --out) out=$2 ;;
  esac
  shift 2
done

if [[ $make == yes ]]; then
  (cd "$root" && cmake --preset release -B "$build" -DPREFIXD_CUDA=ON \
    "-DPREFIXD_CUDA_ARCHITECTURES=$arch-real")
  cmake --build "$build" -j "${JOBS:-$(nproc)}" \
    --target gpu_acceptance gpu_acceptance_tests prefixd prefixctl prefixd_cuda
fi

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
to=$stage/prefixd-card
mkdir -p "$to"/build/{acceptance,bin,tests,lib/prefixd} "$to"/{libs,tools/acceptance,models}
cp "$build/acceptance/gpu_acceptance" "$to/build/acceptance/"
cp "$build"/bin/{prefixd,prefixctl} "$to/build/bin/"
cp "$build"/tests/cuda_card_*_test "$to/build/tests/"
cp "$build/lib/prefixd/libprefixd_cuda.so" "$to/build/lib/prefixd/"
files=("$to"/build/{acceptance,bin,tests,lib/prefixd}/*)
strip "${files[@]}"

# What every Linux has, the driver's library and cuBLAS stay out.
system='^(linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|cuda|cublas|cublasLt)\.)'
for file in "${files[@]}"; do
  ldd "$file"
done | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}' | sort -u | while read -r name path; do
  [[ $name =~ $system ]] || cp -L "$path" "$to/libs/$name"
done

cp "$root/tools/gpu_acceptance" "$to/tools/"
cp "$root/tools/acceptance/device_check.sh" "$root/tools/acceptance/card_libraries.sh" \
  "$to/tools/acceptance/"
cp "$root/tools/acceptance/ask.sh" "$to/"
cp -r "$root/models/demo" "$to/models/"
git -C "$root" describe --always --dirty --abbrev=40 >"$to/revision" 2>/dev/null || true
mkdir -p "$(dirname "$out")"
tar -C "$stage" -czf "$out" prefixd-card
ls -l "$out"
