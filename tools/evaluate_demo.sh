#!/usr/bin/env bash
# Makes the report in docs/evaluation_demo again: a profile from the first half of the demo model's
# calibration pictures, every policy at 10..90 % on the second half. The same command gives the same
# bytes on one CPU level.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cmake --build --preset release --target prefixd-tools prefixctl > /dev/null
data=models/demo/calibration/calibration.json
out=docs/evaluation_demo
profiles=build/release/demo-profiles
build/release/bin/prefixctl calibrate --model models/demo --data "$data" --half first --name demo \
  --out "$profiles" --restart
build/release/bin/prefixctl evaluate --model models/demo --data "$data" --half second \
  --profiles "$profiles" --out "$out" --policies \
  "prefixkv,prefixkv@demo,prefixkv-debiased,prefixkv-window,local,h2o,elastic,snapkv,pyramidkv,streaming-llm,random"
