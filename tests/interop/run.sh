#!/usr/bin/env bash
# LiveKit's own SDKs against livekit-dev, OpenAI's against llm-worker, and the Python agent of
# docs/examples/python against dialtone.
# Usage: tests/interop/run.sh PATH_TO_LIVEKIT_DEV [PATH_TO_LLM_WORKER [PATH_TO_DIALTONE]]
# Exit codes: 0 passed, 1 failed, 2 usage, 4 skipped (something is missing here).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] && [ $# -le 3 ] && [ -x "$1" ] && [ -x "${2:-$1}" ] && [ -x "${3:-$1}" ] \
  || { echo "usage: $0 PATH_TO_LIVEKIT_DEV [PATH_TO_LLM_WORKER [PATH_TO_DIALTONE]]" >&2; exit 2; }
binary=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
llm=${2:+$(cd "$(dirname "$2")" && pwd)/$(basename "$2")}
dialtone=${3:+$(cd "$(dirname "$3")" && pwd)/$(basename "$3")}
work=${INTEROP_DIR:-$here/../../target/interop}
mkdir -p "$work"
work=$(cd "$work" && pwd)

skip() { echo "SKIPPED $*"; exit 4; }
for tool in python3 node npm timeout; do
  command -v "$tool" >/dev/null || skip "$tool is not installed"
done
python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
  || skip "python3 is older than 3.10 or has no venv"

# The environments are made once and again when the pinned versions change.
if ! cmp -s "$here/versions.txt" "$work/versions.txt"; then
  rm -rf "$work/venv"
  timeout 60 python3 -m venv "$work/venv" || skip "cannot make a Python environment"
  timeout 300 "$work/venv/bin/pip" install -q --disable-pip-version-check -r "$here/versions.txt" \
    >"$work/pip.log" 2>&1 || skip "cannot install the Python packages, see $work/pip.log"
  cp "$here/versions.txt" "$work/versions.txt"
fi
if ! cmp -s "$here/package.json" "$work/node/package.json"; then
  rm -rf "$work/node" && mkdir -p "$work/node"
  cp "$here/package.json" "$work/node/"
  (cd "$work/node" && timeout 120 npm install --no-audit --no-fund >"$work/npm.log" 2>&1) \
    || { rm -rf "$work/node"; skip "cannot install the Node package, see $work/npm.log"; }
fi

pids=()
stop() {
  # Each was started in a process group of its own: its children go with it.
  for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  for _ in $(seq 50); do
    alive=0
    for pid in "${pids[@]}"; do kill -0 -- "-$pid" 2>/dev/null && alive=1; done
    [ $alive -eq 0 ] && return
    sleep 0.1
  done
  for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
}
trap stop EXIT

# start NAME COMMAND..: in the background, in its own group, with its own log.
start() {
  local name=$1
  shift
  set -m
  "$@" >"$work/$name.log" 2>&1 </dev/null &
  set +m
  pids+=($!)
}

# address NAME FILE: waits for the address file of the process that was started last, and
# prints the URL in it.
address() {
  for _ in $(seq 100); do
    [ -s "$2" ] && break
    kill -0 "${pids[-1]}" 2>/dev/null || { cat "$work/$1.log" >&2; exit 1; }
    sleep 0.1
  done
  python3 -c 'import json, sys; print(*json.load(open(sys.argv[1]))["urls"].values())' "$2"
}

# From here on all is on loopback, which no proxy knows. The Python worker reads the
# proxies' variables and not no_proxy.
unset http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
export no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost
rm -f "$work"/{address,llm-address,dialtone-address}.json "$work/job.txt"
unset LIVEKIT_KEYS LIVEKIT_KEYS_FILE LIVEKIT_API_SECRET_FILE
start livekit-dev env -u LIVEKIT_API_KEY -u LIVEKIT_API_SECRET \
  "$binary" --port 0 --mode queue --address-file "$work/address.json"
url=$(address livekit-dev "$work/address.json")
export LIVEKIT_URL=${url/http:/ws:} LIVEKIT_API_KEY=devkey LIVEKIT_API_SECRET=secret
export INTEROP_MARKER=$work/job.txt

start worker "$work/venv/bin/python" "$here/worker.py" start
echo "== Node: livekit-server-sdk"
cp "$here/sdk.mjs" "$work/node/sdk.mjs"
(cd "$work/node" && timeout 60 node sdk.mjs)
echo "== Python: livekit-api, and the livekit-agents worker's job"
timeout 120 "$work/venv/bin/python" -W ignore "$here/api.py" --with-worker || {
  tail -n 40 "$work/worker.log" "$work/livekit-dev.log"
  exit 1
}
echo "PASSED interop with LiveKit's SDKs"

if [ -n "$dialtone" ]; then
  rm -rf "$work/dialtone"
  start dialtone env LIVEKIT_URL="$url" "$dialtone" serve --api-port 0 \
    --data-dir "$work/dialtone" --address-file "$work/dialtone-address.json"
  DIALTONE_URL=$(address dialtone "$work/dialtone-address.json")
  export DIALTONE_URL
  # The framework declines jobs on a busy machine; here it must take them.
  start agent env LOAD_THRESHOLD=inf PYTHONDONTWRITEBYTECODE=1 \
    "$work/venv/bin/python" "$here/../../docs/examples/python/agent.py" start
  echo "== Python: an agent that serves live batches"
  timeout 120 "$work/venv/bin/python" "$here/batch.py" || {
    tail -n 40 "$work/agent.log" "$work/dialtone.log"
    exit 1
  }
  echo "PASSED interop with the Python agent"
fi

if [ -n "$llm" ]; then
  start llm-worker env -u LLM_WORKER_API_KEY "$llm" --port 0 --slots 1 --queue 0 \
    --address-file "$work/llm-address.json"
  LLM_URL=$(address llm-worker "$work/llm-address.json")
  export LLM_URL LLM_MODEL=builtin
  # It answers at once, and is ready when its model has generated a token.
  timeout 30 python3 -c '
import os, time, urllib.request
while True:
    try:
        urllib.request.urlopen(os.environ["LLM_URL"] + "/ready", timeout=5)
        break
    except OSError:
        time.sleep(0.05)
' || { tail -n 40 "$work/llm-worker.log"; exit 1; }
  echo "== Python: openai"
  timeout 60 "$work/venv/bin/python" -W ignore "$here/llm.py" || {
    tail -n 40 "$work/llm-worker.log"
    exit 1
  }
  echo "PASSED interop with OpenAI's SDK"
fi
