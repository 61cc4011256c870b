"""Our engine and llama.cpp in turns on one machine: the ratio first.

usage: speed.py --ours PROGRAM [--rounds N] [--quick] [--only NAME] [--smollm2 FILE] [--large FILE]
                [--json FILE] [--markdown]

Speeds are tokens per CPU-second (user and system, all threads of the process) unless a row says
wall; on an idle core the two are the same. A figure is the median of the rounds.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.realpath(f"{HERE}/../../target/yardstick")

# What llama.cpp's builds for an instruction set are called, by our name for it.
VARIANTS = {"avx512": "zen4", "avx2": "haswell"}

# Keys of the two programs' output; whether more is better; the label.
PROMPT = ("prompt_tokens_per_cpu_s", True, "prompt, tokens/CPU-s")
DECODE = ("decode_tokens_per_cpu_s", True, "decode, tokens/CPU-s")
TTFT = ("ttft_cpu_ms", False, "TTFT, CPU-ms")
HIT = ("ttft_hit_cpu_ms", False, "TTFT on a prefix hit, CPU-ms")
LOAD = ("load_ms", False, "load to ready, ms wall")
LOAD_CPU = ("load_cpu_ms", False, "load to ready, CPU-ms")
RSS = ("rss_peak_mb", False, "peak RSS, MiB")
WALL_PROMPT = ("prompt_tokens_per_s", True, "prompt, tokens/s wall")
WALL_DECODE = ("decode_tokens_per_s", True, "decode, tokens/s wall")


def run(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"failed ({done.returncode}): {' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


class Pair:
    """The two programs on one model, one instruction set, one shape of work."""

    def __init__(self, options, model, isa, threads=1, sequences=1, count=48):
        self.options = options
        self.work = ["--model", model, "--threads", threads, "--sequences", sequences]
        self.work += ["--prompt", 64, "--count", count]
        self.isa = isa

    def ours(self):
        return run([self.options.ours, *self.work, "--isa", self.isa])

    def llama(self, remembered):
        backend = f"{CACHE}/lib/libggml-cpu-{VARIANTS[self.isa]}.so"
        return run([f"{CACHE}/ref", "speed", *self.work, "--backend", backend, "--remembered", remembered])

    def rounds(self, number):
        """Both in turns, so that what else the machine does falls on both."""
        taken = []
        for _ in range(number):
            ours = self.ours()
            # As many tokens are remembered as ours found in its cache.
            taken.append((ours, self.llama(ours["remembered"])))
        return taken


def compare(name, isa, taken, rows):
    """One row per figure: the ratio of the medians, above 1 where ours is better."""
    out = []
    for key, more, label in rows:
        ours = [o[key] for o, _ in taken]
        llama = [l[key] for _, l in taken]
        a, b = statistics.median(ours), statistics.median(llama)
        pairs = [o / l if more else l / o for o, l in zip(ours, llama)]
        out.append(
            {
                "case": name,
                "isa": isa,
                "figure": label,
                "ratio": round(a / b if more else b / a, 2),
                "least": round(min(pairs), 2),
                "most": round(max(pairs), 2),
                "ours": round(a, 1),
                "llama.cpp": round(b, 1),
            }
        )
        show(out[-1])
    return out


HEAD = f"{'ratio':>6} {'range':>13} {'ours':>9} {'llama.cpp':>9}  {'isa':<7} case and figure"


def sides(row):
    """The two figures behind a ratio."""
    names = ("ours", "llama.cpp") if "ours" in row else ("two threads", "one thread")
    return [row[name] for name in names]


def show(row):
    spread = f"{row['least']:.2f}..{row['most']:.2f}"
    left, right = sides(row)
    print(
        f"{row['ratio']:>6.2f} {spread:>13} {left:>9.1f} {right:>9.1f}  "
        f"{row['isa']:<7} {row['case']}: {row['figure']}",
        flush=True,
    )


def markdown(figures):
    """The tables of docs/benchmarks.md."""
    for head, wanted in (("ours | llama.cpp", "ours"), ("2 threads | 1 thread", "two threads")):
        rows = [row for row in figures if wanted in row]
        if rows:
            print(f"\n| ratio | case | figure | instruction set | {head} |\n|---|---|---|---|---|---|")
        for row in rows:
            left, right = sides(row)
            print(f"| {row['ratio']:.2f} | {row['case']} | {row['figure']} | {row['isa']} | {left} | {right} |")


def spin():
    while True:
        pass


def busy(options, isa):
    """Two threads against one while every core has other work, wall clock, in pairs."""
    burners = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count())]
    for burner in burners:
        burner.start()
    out = []
    try:
        time.sleep(0.2)
        pairs = {"ours": [], "llama.cpp": []}
        one, two = (Pair(options, options.smollm2, isa, threads=t, count=16) for t in (1, 2))
        for number in range(max(2 * options.rounds, 3)):
            # Which of the two goes first changes, in case the load does.
            first, second = (one, two) if number % 2 == 0 else (two, one)
            taken = [first.ours(), second.ours()]
            pairs["ours"].append(taken if number % 2 == 0 else taken[::-1])
        # Its threads wait for each other by spinning: one pair takes minutes.
        pairs["llama.cpp"].append((one.llama(32), two.llama(32)))
    finally:
        for burner in burners:
            burner.terminate()
    for engine, taken in pairs.items():
        for key, _, label in (WALL_PROMPT, WALL_DECODE):
            ratios = [two[key] / one[key] for one, two in taken]
            out.append(
                {
                    "case": f"{engine}, busy machine, 2 threads against 1",
                    "isa": isa,
                    "figure": label,
                    "ratio": round(statistics.median(ratios), 2),
                    "least": round(min(ratios), 2),
                    "most": round(max(ratios), 2),
                    "two threads": round(statistics.median(two[key] for _, two in taken), 1),
                    "one thread": round(statistics.median(one[key] for one, _ in taken), 1),
                }
            )
            show(out[-1])
    return out


def cases(options):
    def case(name, isa, rows, model=options.smollm2, rounds=options.rounds, **shape):
        if options.only and options.only not in name:
            return []
        return compare(name, isa, Pair(options, model, isa, **shape).rounds(rounds), rows)

    best = options.isa
    single = [PROMPT, DECODE, TTFT, HIT, LOAD, LOAD_CPU, RSS]
    out = case("1 sequence", best, single)
    for sequences in (4, 8):
        out += case(f"{sequences} sequences", best, [DECODE, RSS], sequences=sequences)
    if best != "avx2":
        out += case("1 sequence, AVX2", "avx2", [PROMPT, DECODE])
        out += case("4 sequences, AVX2", "avx2", [DECODE], sequences=4)
    if not options.only or "busy" in options.only:
        out += busy(options, best)
    if options.large:
        few = max(1, options.rounds - 1)
        out += case("1B Q4_K_M", best, single, model=options.large, rounds=few, count=16)
        out += case("1B Q4_K_M, 4 sequences", best, [DECODE], model=options.large, rounds=few, count=16, sequences=4)
        if best != "avx2":
            out += case("1B Q4_K_M, AVX2", "avx2", [PROMPT, DECODE], model=options.large, rounds=few, count=16)
    return out


def machine():
    with open("/proc/cpuinfo") as f:
        name = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "?")
    return {"cpu": name, "cores": os.cpu_count(), "load": os.getloadavg()[0], "system": platform.release()}


def best_isa():
    with open("/proc/cpuinfo") as f:
        return "avx512" if " avx512_vnni" in f.read() else "avx2"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="the engine's `speed` example")
    parser.add_argument("--smollm2", required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--large", help="a model of 1B shape; without it that part is left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--isa", choices=VARIANTS, default=best_isa())
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--markdown", action="store_true", help="print them as docs/benchmarks.md has them, too")
    options = parser.parse_args()
    here = machine()
    print(f"{here['cpu']}, {here['cores']} cores, load {here['load']:.2f}; medians of {options.rounds} rounds; ratio above 1: ours is better")
    print(HEAD)
    figures = cases(options)
    if not figures:
        sys.exit("no case has that name")
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"machine": here, "rounds": options.rounds, "figures": figures}, f, indent=1)
        print(f"written to {options.json}")
    if options.markdown:
        markdown(figures)


if __name__ == "__main__":
    main()
