#!/usr/bin/env bash
# Builds everything with a sanitizer and runs the tests under it.
#   .ci/sanitize.sh asan|tsan [--short] [ctest arguments...]
# asan: AddressSanitizer (with leaks) and UndefinedBehaviorSanitizer; tsan: ThreadSanitizer.
# --short builds and runs the tests that meet hostile bytes (asan) or several threads (tsan), without
# gRPC, which takes most of the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/common.sh
source deploy/common.sh

preset=${1:-}
case $preset in
  asan | tsan) shift ;;
  *)
    echo "usage: $0 asan|tsan [--short] [ctest arguments...]" >&2
    exit 2
    ;;
esac
targets=()
selection=()
if [ "${1:-}" = --short ]; then
  if [ "$preset" = asan ]; then
    targets=(base_test cache_test classify_store_test retention_test sampler_test step_loop_test
      schedule_bits_test scoring_bits_test text_streamer_test tokenizer_test chat_template_test
      template_language_test vision_test weights_test model_config_test cuda_emulator_test
      cuda_row_ops_test cuda_kv_ops_test cuda_split_attention_bugs_test cuda_tile_attention_test
      cuda_vision_attention_test cuda_column_sums_test cuda_draw_tokens_test)
  else
    targets=(thread_pool_test engine_test classifier_test classify_store_test)
  fi
  selection=(-R "^($(IFS='|' && echo "${targets[*]}"))$")
  shift
fi

deploy/install_packages.sh --tests
say "$preset: build"
configure_and_build "$preset" "${targets[@]}"

# Not detect_stack_use_after_return: gcc 12 then breaks the alignment of vectors on the stack (PR 110027).
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=0:abort_on_error=0
export LSAN_OPTIONS="suppressions=$PWD/.ci/lsan_suppressions.txt:print_suppressions=0"
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS="suppressions=$PWD/.ci/tsan_suppressions.txt:halt_on_error=1:second_deadlock_stack=1"
say "$preset: tests (after $(elapsed))"
# Sanitized code is about ten times slower; the build raises the tests' time limits accordingly.
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j2 \
  "${selection[@]}" "$@"
