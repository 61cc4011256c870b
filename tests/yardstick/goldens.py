"""Writes the goldens of one model: what llama.cpp and the float reference compute for it.

usage: goldens.py MODEL.gguf PROMPTS.json OUT_STEM [--stride N]

PROMPTS.json is a list of {"name", "text", "at": [positions, -1 is the last]}. Writes OUT_STEM.json
and OUT_STEM.f32; crates/inference/tests/golden/README.md describes both.
"""

import argparse
import hashlib
import json
import os
import subprocess
import tempfile

import numpy as np

import reference

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.realpath(f"{HERE}/../../target/yardstick")
TOP = 32
GREEDY = 48
# The instruction set whose logits are stored, and the other one whose error is stated.
STORED, OTHER = "zen4", "haswell"


def ref(mode, model, variant, *options, text=None):
    command = [f"{CACHE}/ref", mode, "--model", model]
    command += ["--backend", f"{CACHE}/lib/libggml-cpu-{variant}.so", *map(str, options)]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def row_list(values):
    return " ".join(map(str, values))


def llama_logits(model, variant, tokens, at, vocab):
    with tempfile.NamedTemporaryFile() as out:
        ref("logits", model, variant, "--tokens", row_list(tokens), "--at", row_list(at), "--out", out.name)
        return np.fromfile(out.name, np.float32).reshape(len(at), vocab)


def rms(a, b):
    return float(np.sqrt(np.mean(np.square(a - b, dtype=np.float64))))


def margins(rows):
    top = np.sort(rows, axis=1)[:, -2:]
    return [round(float(m), 3) for m in top[:, 1] - top[:, 0]]


def golden(path, model, prompt, stride, binary):
    tokens = json.loads(ref("tokenize", path, STORED, text=prompt["text"]))
    at = [i % len(tokens) for i in prompt["at"]]
    greedy = json.loads(ref("greedy", path, STORED, "--tokens", row_list(tokens), "--count", GREEDY))
    # One pass over the prompt and llama.cpp's continuation, the last token aside.
    float_rows = model.logits(tokens + greedy["tokens"][:-1])
    vocab = float_rows.shape[1]
    stored = llama_logits(path, STORED, tokens, at, vocab)
    other = llama_logits(path, OTHER, tokens, at, vocab)
    positions = []
    for i, place in enumerate(at):
        exact = float_rows[place]
        top = np.argsort(-exact, kind="stable")[:TOP]
        positions.append(
            {
                "at": place,
                "offset": len(binary),
                "top": top.tolist(),
                "llama_rms": round(rms(stored[i], exact), 5),
                "llama_rms_avx2": round(rms(other[i], exact), 5),
                "llama_correlation": round(float(np.corrcoef(stored[i], exact)[0, 1]), 6),
            }
        )
        for row in (stored[i], exact):
            binary.extend(row[::stride].tolist())
            binary.extend(row[top].tolist())
        print(prompt["name"], len(tokens), positions[-1]["at"], {k: v for k, v in positions[-1].items() if "llama" in k})
    following = float_rows[len(tokens) - 1 :]
    return vocab, {
        "name": prompt["name"],
        "text": prompt["text"],
        "tokens": tokens,
        "positions": positions,
        "greedy": {
            "tokens": greedy["tokens"],
            "margins": greedy["margins"],
            "reference_tokens": following.argmax(axis=1).tolist(),
            "reference_margins": margins(following),
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("prompts")
    parser.add_argument("out")
    parser.add_argument("--stride", type=int, default=1)
    options = parser.parse_args()
    subprocess.run([f"{HERE}/build.sh"], check=True, stdout=subprocess.DEVNULL)
    with open(options.prompts) as f:
        prompts = json.load(f)
    model = reference.Model(options.model)
    binary, done = [], []
    for prompt in prompts:
        vocab, entry = golden(options.model, model, prompt, options.stride, binary)
        done.append(entry)
    with open(options.model, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    document = {
        "model": os.path.basename(options.model),
        "sha256": digest,
        "vocab": vocab,
        "stride": options.stride,
        "prompts": done,
    }
    with open(f"{options.out}.json", "w") as f:
        # One line per list keeps the file readable.
        text = json.dumps(document, indent=1)
        f.write(compact(text) + "\n")
    np.array(binary, "<f4").tofile(f"{options.out}.f32")


def compact(text):
    """Joins lists of numbers that json.dumps spread over lines."""
    import re

    return re.sub(r"\[\s+(-?[\d.]+(?:,\s+-?[\d.]+)*)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)


if __name__ == "__main__":
    main()
