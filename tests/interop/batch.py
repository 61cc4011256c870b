"""Live batches over HTTP, served by the Python agent of docs/examples/python."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

API = os.environ["DIALTONE_URL"]
BASE = os.environ["LIVEKIT_URL"].replace("ws://", "http://")


def ask(method: str, path: str, body: bytes | None = None, kind: str = "application/json"):
    headers = {"Content-Type": kind} if body is not None else {}
    request = urllib.request.Request(API + path, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def expect(status: int, answer):
    assert answer[0] == status, answer
    return answer[1]


def wait_for(what: str, probe, ceiling_s: float = 60.0):
    start = time.monotonic()
    while time.monotonic() - start < ceiling_s:
        found = probe()
        if found:
            print(f"ok {what} after {time.monotonic() - start:.2f} s")
            return found
        time.sleep(0.05)
    raise SystemExit(f"FAILED {what}: not within {ceiling_s} s")


def registered() -> bool:
    with urllib.request.urlopen(f"{BASE}/dev/workers", timeout=5) as answer:
        return any(w["agent_name"] == "batch-worker" for w in json.load(answer)["workers"])


def ended(batch: str):
    status = expect(200, ask("GET", f"/batch/batch-status/{batch}"))
    return status if status["finished_at"] else None


def by_json() -> None:
    """One call runs to its end, one callee opts out; their numbers tell them apart afterwards."""
    entries = [
        {"to": "+15550000101", "timezone": "Europe/Berlin", "variables": {"talk_s": 3}},
        {"to": "+15550000102", "variables": {"wants": "no more calls"}},
    ]
    body = {"voice_id": "demo", "initiated_by": 1, "entries": entries}
    taken = expect(202, ask("POST", "/batch/trigger-batch-call", json.dumps(body).encode()))
    assert (taken["accepted"], taken["rejected"]) == (2, 0), taken
    status = wait_for("batch by JSON ended", lambda: ended(taken["batch_id"]))
    assert status["status"] == "completed", status
    assert (status["completed_calls"], status["dials"], status["mode"]) == (2, 2, "live"), status
    page = expect(200, ask("GET", f"/batch/{taken['batch_id']}/entries"))
    for entry in page["items"]:
        (attempt,) = entry["attempts"]
        assert (entry["outcome"], attempt["reason"]) == ("completed", "said all"), entry
    listed = expect(200, ask("GET", "/suppressions"))["items"]
    assert len(listed) == 1 and listed[0]["source"].startswith("opt_out"), listed
    print("ok the agent claimed, was heard, said the outcome and passed on the opt-out")


def by_table() -> None:
    """The number that has opted out is not called again; a cancel reaches the agent of the other."""
    table = "phone;talk_s\n+15550000102;2\n+15550000103;600\n".encode()
    query = urllib.parse.urlencode({"voice_id": "demo", "initiated_by": 1})
    answer = ask("POST", f"/batch/trigger-batch-call?{query}", table, "text/csv")
    batch = expect(202, answer)["batch_id"]

    def talking():
        states = expect(200, ask("GET", f"/batch/batch-status/{batch}"))["by_state"]
        return states.get("in_call") == 1
    wait_for("the call is answered", talking)
    expect(200, ask("POST", f"/batch/batch-cancel/{batch}", b'{"mode":"hangup"}'))
    status = wait_for("cancelled batch ended", lambda: ended(batch))
    assert status["status"] == "cancelled", status
    assert status["by_outcome"] == {"suppressed": 1, "cancelled": 1}, status
    # The agent hears of it at its next beat and lets go of the job.
    def free():
        with urllib.request.urlopen(f"{BASE}/dev/workers", timeout=5) as found:
            return all(w["job_count"] == 0 for w in json.load(found)["workers"])
    wait_for("the agent has hung up", free)


wait_for("agent registered", registered)
by_json()
by_table()
