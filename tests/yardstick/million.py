"""Creates a live batch of a million entries; says how long that took, and what memory the server
held at most (Linux). The server needs the simulated LiveKit's key pair or none that can be called:

    LIVEKIT_URL=http://127.0.0.1:1 dialtone serve --api-port 18999 --data-dir DIR &
    python3 million.py PORT PID csv|json [ENTRIES]
"""

import http.client
import sys
import time

port, pid, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
entries = range(int(sys.argv[4]) if len(sys.argv) > 4 else 1_000_000)


def memory() -> dict:
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        lines = (line.split() for line in status if line.startswith(("VmHWM", "VmRSS")))
        return {name.rstrip(":"): f"{int(kib) / 1024:.0f} MiB" for name, kib, _ in lines}


path, media = "/batch/trigger-batch-call", "application/json"
if kind == "json":
    rows = (f'{{"to":"+4915{n:09}","variables":{{"id":"{n}"}}}}' for n in entries)
    body = '{"entries":[' + ",".join(rows) + '],"voice_id":"demo","initiated_by":1}'
else:
    path, media = f"{path}?voice_id=demo&initiated_by=1", "text/csv"
    body = "phone,id,timezone\n" + "".join(f"+4915{n:09},{n},Europe/Berlin\n" for n in entries)
print(f"{kind}: {len(entries)} entries, {len(body) / 2**20:.1f} MiB, before {memory()}", flush=True)
start = time.monotonic()
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
connection.request("POST", path, body.encode(), {"Content-Type": media})
answer = connection.getresponse()
print(answer.status, answer.read(200).decode())
print(f"{time.monotonic() - start:.1f} s, after {memory()}")
