#!/usr/bin/env bash
# What a clean default build of `llm-worker` costs: crates, and CPU-seconds of cargo and all
# its children. Downloads happen before and do not count.
#
# usage: tests/yardstick/build_cost.sh [dev|release]
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${1:-dev}
cargo fetch --quiet --locked
crates=$(cargo tree --package dialtone-llm-worker --edges normal,build --prefix none | sed 's/ (\*)$//' | sort -u | grep -c .)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
TIMEFORMAT='%U %S %R'
took=$( { time CARGO_TARGET_DIR=$folder cargo build --quiet --offline --locked --package dialtone-llm-worker \
  --profile "$profile" >/dev/null; } 2>&1 | tail -1)
read -r user system wall <<<"$took"
awk -v c="$crates" -v p="$profile" -v u="$user" -v s="$system" -v w="$wall" \
  'BEGIN { printf "llm-worker, %s: %d crates, %.0f CPU-s, %.0f s wall\n", p, c, u + s, w }'
