#!/usr/bin/env python3
"""The analysis of recordings beside Python peers, on the same files in one run: how far each is
off, and how much processor time it takes. See README.md."""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

NEAR_S = 0.25
HERE = Path(__file__).resolve()


def score(found, truth):
    """Errors of the found answers, and how many were missed and made up: as truth::Score does."""
    near = sorted(
        (abs(f["start"] - t["start"]), n, m)
        for n, f in enumerate(found)
        for m, t in enumerate(truth)
        if abs(f["start"] - t["start"]) <= NEAR_S
    )
    taken, met, errors = set(), set(), []
    for _, n, m in near:
        if n not in taken and m not in met:
            taken.add(n)
            met.add(m)
            errors.append(found[n]["rtt"] - truth[m]["rtt"])
    return errors, len(truth), len(truth) - len(met), len(found) - len(taken)


def quantile(values, share):
    values = sorted(values)
    if not values:
        return float("nan")
    at = share * (len(values) - 1)
    low, high = values[int(at)], values[min(int(at) + 1, len(values) - 1)]
    return low + (high - low) * (at - int(at))


def truth_of(call):
    answers = [t for t in call["turns"] if t["caller"] and t["agent"]]
    return [{"start": t["agent"]["start_s"], "rtt": t["rtt_ms"]} for t in answers]


def measured(command, **kwargs):
    """Runs a command; its processor seconds, children included."""
    before = os.times()
    done = subprocess.run(command, **kwargs)
    after = os.times()
    cpu = after.children_user + after.children_system
    return done, cpu - before.children_user - before.children_system


def ours(lab, folder, gate):
    with tempfile.TemporaryDirectory() as out:
        rows = Path(out, "latency.csv")
        command = [lab, "recordings-analyze", "--vad", gate, "--run-dir", out, "--out", rows, str(folder)]
        done, cpu = measured(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}")
        found = {}
        with open(rows, newline="") as file:
            for row in csv.DictReader(file):
                rows = found.setdefault(row["file"], [])
                if row["caller_end_s"] and row["agent_start_s"] and row["rtt_ms"]:
                    rows.append({"start": float(row["agent_start_s"]), "rtt": float(row["rtt_ms"])})
    return found, cpu


def peer(name, folder):
    done, cpu = measured([sys.executable, HERE, "--peer", name, folder], stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"the peer {name} failed")
    return json.loads(done.stdout), cpu


def answers(caller, agent):
    """The turns that somebody makes of segments: the last end of the caller before an agent's
    start that follows speech of the caller."""
    turns, last_agent_end = [], -1.0
    for start, end in agent:
        before = [c for c in caller if c[0] < start and c[1] > last_agent_end]
        if before:
            turns.append({"start": start, "rtt": (start - before[-1][1]) * 1e3})
        last_agent_end = end
    return turns


def run_hotato(files):
    from hotato.scan import scan_recording

    for file in files:
        by_start = {}
        for found in scan_recording(str(file), min_gap_sec=0.001)["candidates"]:
            if found["kind"] == "long_response_gap":
                start = found["agent_reaction"]["next_agent_onset_sec"]
                gap = found["durations"]["gap_sec"] * 1e3
                if start is not None and gap < by_start.get(start, 1e9):
                    by_start[start] = gap
            elif found["kind"] == "agent_start_during_caller":
                kept = found["durations"]["caller_kept_talking_sec"]
                if kept is not None:
                    by_start[found["t_sec"]] = -kept * 1e3
        yield file.name, [{"start": s, "rtt": r} for s, r in sorted(by_start.items())]


def run_pydub_silero(files):
    import numpy
    import onnxruntime
    from pydub import AudioSegment

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = onnxruntime.InferenceSession(os.environ["SILERO_ONNX"], options)

    def segments(samples):
        """get_speech_timestamps of silero-vad with its defaults, at 8 kHz."""
        state = numpy.zeros((2, 1, 128), dtype=numpy.float32)
        context = numpy.zeros((1, 32), dtype=numpy.float32)
        rate = numpy.array(8000, dtype=numpy.int64)
        found, start, maybe_end = [], None, None
        for at in range(0, len(samples), 256):
            frame = samples[at : at + 256]
            frame = numpy.pad(frame, (0, 256 - len(frame)))[None, :]
            sound = numpy.concatenate([context, frame], axis=1)
            context = frame[:, -32:]
            speech, state = model.run(None, {"input": sound, "state": state, "sr": rate})
            speech = float(speech[0, 0])
            if speech >= 0.5:
                maybe_end = None
                if start is None:
                    start = at
            elif speech < 0.35 and start is not None:
                maybe_end = at if maybe_end is None else maybe_end
                if at - maybe_end >= 800:
                    if maybe_end - start > 2000:
                        found.append((start, maybe_end))
                    start = maybe_end = None
        if start is not None and len(samples) - start > 2000:
            found.append((start, len(samples)))
        return [(max(0, s - 240) / 8000, (e + 240) / 8000) for s, e in found]

    for file in files:
        caller, agent = AudioSegment.from_wav(str(file)).split_to_mono()
        sides = [
            segments(numpy.array(side.get_array_of_samples(), dtype=numpy.float32) / 32768)
            for side in (caller, agent)
        ]
        yield file.name, answers(*sides)


def run_pydub(files):
    from pydub import AudioSegment
    from pydub.silence import detect_nonsilent

    for file in files:
        sides = AudioSegment.from_wav(str(file)).split_to_mono()
        spoken = [
            detect_nonsilent(side, min_silence_len=200, silence_thresh=-40, seek_step=10)
            for side in sides
        ]
        yield file.name, answers(*([(s / 1e3, e / 1e3) for s, e in side] for side in spoken))


PEERS = {
    "hotato": ("hotato 1.20.0", run_hotato),
    "pydub": ("pydub 0.25.1, -40 dBFS", run_pydub),
    "pydub-silero": ("pydub 0.25.1 + Silero 6.2.3 (ONNX)", run_pydub_silero),
}


def row(name, found, cpu, calls, only=None):
    errors, turns, missed, made_up, audio = [], 0, 0, 0, 0.0
    for call in calls:
        audio += call["duration_s"]
        if only and not call[only]:
            continue
        more, all_turns, gone, extra = score(found.get(call["file"], []), truth_of(call))
        errors += more
        turns, missed, made_up = turns + all_turns, missed + gone, made_up + extra
    sizes = [abs(error) for error in errors]
    mean = lambda values: sum(values) / len(values) if values else float("nan")
    return {
        "name": name, "turns": turns, "missed": 100 * missed / turns,
        "false": 100 * made_up / turns, "bias": mean(errors), "mae": mean(sizes),
        "p95": quantile(sizes, 0.95), "times": audio / cpu, "hour": 3600 * cpu / audio,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="made by `lab recordings-make`")
    parser.add_argument("--lab", default="target/release/lab")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = Path(args.folder)
    if args.peer:
        _, run = PEERS[args.peer]
        json.dump(dict(run(sorted(folder.glob("*.wav")))), sys.stdout)
        return
    calls = json.loads((folder / "truth.json").read_text())
    results = [(f"ours, {gate}", *ours(args.lab, folder, gate)) for gate in ("silero", "webrtc", "energy")]
    results += [(shown, *peer(name, folder)) for name, (shown, _) in PEERS.items()]
    for title, only in (("all conditions", None), ("telephone-normal", "telephone_normal")):
        rows = [row(name, found, cpu, calls, only) for name, found, cpu in results]
        peers = {r["name"]: r["hour"] for r in rows}
        print(f"\n{title}, {rows[0]['turns']} answers\n")
        print("| program | missed | false | bias ms | mean error ms | p95 error ms | CPU-s per hour | times real time | Silero gate is faster by |")
        print("|---|---|---|---|---|---|---|---|---|")
        for r in rows:
            ratio = r["hour"] / peers["ours, silero"]
            print(
                f"| {r['name']} | {r['missed']:.1f} % | {r['false']:.1f} % | {r['bias']:+.0f} | {r['mae']:.0f} "
                f"| {r['p95']:.0f} | {r['hour']:.1f} | {r['times']:.0f} | {ratio:.2f} |"
            )


if __name__ == "__main__":
    main()
