#!/usr/bin/env bash
# Our engine beside llama.cpp, in turns, in one run. Fetches and builds what it needs.
#
# usage: tests/yardstick/run.sh [--rounds N] [--quick] [--only NAME] [--json FILE] [--markdown]
#   --quick   one round, without the 1B model
# The 1B model (random weights, about 0.8 GB) is written to $YARDSTICK_TMP, by default
# ${TMPDIR:-/tmp}/dialtone-yardstick, and kept there for the next run.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=3 quick='' pass=()
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 && shift 2 ;;
    --quick) quick=1 && shift ;;
    --markdown) pass+=("$1") && shift ;;
    --only | --json | --isa) pass+=("$1" "$2") && shift 2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  esac
done
case " ${pass[*]} " in
  *" --json "*) ;;
  *) pass+=(--json target/yardstick/speed.json) ;;
esac

model=${SMOLLM2:-.test-models/SmolLM2-135M-Instruct.Q4_1.gguf}
if [ ! -e "$model" ]; then
  echo "no $model" >&2
  echo "hint: cargo xtask model:fetch, or SMOLLM2=/path/to/the/file" >&2
  exit 2
fi
tests/yardstick/build.sh >/dev/null
cargo build --quiet --release -p dialtone-inference --example speed --example synthetic
target=${CARGO_TARGET_DIR:-target}/release/examples
if [ -n "$quick" ]; then
  rounds=1
else
  folder=${YARDSTICK_TMP:-${TMPDIR:-/tmp}/dialtone-yardstick}
  large=$folder/1b-q4_k_m.gguf
  if [ ! -e "$large" ]; then
    mkdir -p "$folder"
    "$target/synthetic" "$large.part"
    mv "$large.part" "$large"
  fi
  pass+=(--large "$large")
fi
exec python3 tests/yardstick/speed.py --ours "$target/speed" --smollm2 "$model" --rounds "$rounds" "${pass[@]}"
