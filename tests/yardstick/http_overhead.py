"""What HTTP adds to the time to the first token.

usage: http_overhead.py --worker PROGRAM [--model FILE] [--requests N]

Starts the worker, streams one answer after another, and takes from the time until the first piece
of text, as the client sees it, the time that the engine says it took. Each request has a
connection of its own, as the worst case.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time

QUESTION = "What are your opening hours?"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), timeout=30)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def wait_ready(port, worker):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if worker.poll() is not None:
            sys.exit(f"the worker ended with {worker.returncode}")
        try:
            with connect(port) as s:
                s.sendall(b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                if s.recv(64).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit("the worker does not become ready")


def events(port, body):
    """(seconds since the request, event) of one stream."""
    request = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(request)}\r\n\r\n"
    began = time.perf_counter()
    with connect(port) as s:
        s.sendall(head.encode() + request)
        rest = b""
        while piece := s.recv(65536):
            at = time.perf_counter() - began
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.startswith(b"data: {"):
                    yield at, json.loads(line[6:])


def overhead_ms(port, number):
    # The question differs from the start, so that nothing of it is remembered.
    messages = [{"role": "user", "content": f"{number}. {QUESTION}"}]
    first, engine = None, None
    for at, event in events(port, {"messages": messages, "max_tokens": 4, "temperature": 0, "stream": True}):
        choices = event.get("choices") or [{}]
        if first is None and choices[0].get("delta", {}).get("content"):
            first = at
        engine = (event.get("timings") or {}).get("ttft_ms", engine)
    if first is None or engine is None:
        sys.exit("the stream has no text, or says no timings")
    return first * 1e3 - engine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", default=".test-models/tiny.gguf")
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    port = free_port()
    command = [options.worker, "--model", options.model, "--port", str(port)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_ready(port, worker)
        for number in range(10):
            overhead_ms(port, number)
        taken = sorted(overhead_ms(port, 10 + number) for number in range(options.requests))
    finally:
        worker.terminate()
        worker.wait(timeout=20)
    p95 = taken[int(len(taken) * 0.95)]
    print(f"HTTP adds {statistics.median(taken):.2f} ms to the first token (p95 {p95:.2f} ms, {len(taken)} requests)")


if __name__ == "__main__":
    main()
