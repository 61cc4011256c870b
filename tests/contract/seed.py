"""Fills the server with something of every kind and prints the ids, by what they are for."""

import json
import sys
import time
import urllib.request

url, key = sys.argv[1], sys.stdin.readline().strip()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data, headers, method=method)
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)


def live(numbers, **more):
    entries = [{"to": to} for to in numbers]
    body = {"voice_id": "demo", "initiated_by": 1, "entries": entries, **more}
    return ask("POST", "/batch/trigger-batch-call", body)["batch_id"]


def ended(batch):
    for _ in range(100):
        if ask("GET", f"/batch/batch-status/{batch}?wait=200ms")["finished_at"]:
            return batch
        time.sleep(0.1)
    sys.exit(f"{batch} does not end")


numbers = [f"+1555000{place:04}" for place in range(9000, 9020)]
ask("POST", "/suppressions", {"numbers": numbers})
# Its one entry fails at once, without any call.
failed = ended(live(numbers[:1]))
cancelled = live(["+15550008001", "+15550008002", "no number"], rejects="report")
ask("POST", f"/batch/batch-cancel/{cancelled}")
ended(cancelled)
# LiveKit is away, so these go on for as long as nobody cancels them.
# Those that are cancelled are others than those that are paused and resumed.
running = [live([f"+1555000{7000 + 10 * n + k}" for k in range(5)]) for n in range(24)]
entries = [f"ent_{batch[4:]}_{seq}" for batch in running[:12] for seq in (1, 2, 3, 4, 5)]
print(json.dumps({
    "batch_id": running[:12],
    "batch-cancel": running[12:],
    "report": [failed, cancelled],
    "rejects": [failed, cancelled],
    # A stream ends only with its batch.
    "events": [failed, cancelled],
    "entry_id": entries,
    "number": numbers,
}))
