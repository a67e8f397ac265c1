#!/usr/bin/env bash
# Makes everything anew that depends on the checkpoint in models/demo, when that has changed: the pictures' answers and
# the calibration set, the goldens, the report in docs/evaluation_demo; and seals it (tests/golden/demo_seal.sh).
#   PYTHON=venv/bin/python tests/golden/make/all.sh
# PYTHON (python3) needs torch, transformers 5.24, tokenizers 0.23, safetensors, pillow, numpy and scikit-learn,
# and no torchvision. Takes about 2 minutes on two cores; with the same versions and CPU level it gives the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1 # Small models; and sums of floats depend on the number of threads.

make=(
  "models/demo/recipe/pictures.py models/demo --out models/demo --scenes 0"
  "models/demo/recipe/verify.py models/demo models/demo/pictures"
  "tests/golden/make/models.py demo"
  "tests/golden/make/beam_search.py"
  "tests/golden/make/evaluation.py"
  "tests/golden/make/evaluation_budgets.py"
  "tests/golden/make/half_precision.py" # Reads demo.safetensors.
  "tests/golden/make/retention.py"
  "tests/golden/make/retention_prompts.py" # Reads what retention.py wrote.
  "tests/golden/make/chat_templates.py"
  "tests/golden/make/conversations.py"
  "tests/golden/make/tokenizer.py demo"
)
cmake --preset release > /dev/null
cmake --build --preset release --target make_random_model prefixd-tools prefixctl > /dev/null
for script in "${make[@]}"; do
  echo "== $script"
  # shellcheck disable=SC2086
  "$python" $script
done
echo "== tools/evaluate_demo.sh"
tools/evaluate_demo.sh
tests/golden/demo_seal.sh write
