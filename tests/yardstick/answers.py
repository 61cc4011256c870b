"""Checks what the tiny model answers, and writes crates/inference/tests/golden/tiny-answers.json.

usage: answers.py MODEL.gguf OUT.json

Each conversation has to end in the answer that the corpus gives, on both of llama.cpp's
instruction sets and in the float reference, with a margin at every token that rounding cannot
eat. The smallest margin of the three is written beside the answer.
"""

import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../../crates/inference/tiny")

import bpe
import corpus
import goldens
import reference
from gguf import GGUFReader

# Below this an answer is not promised. Engines differ by hundredths.
CLEAR = 1.5

FACTS = {name: (ways[0], answer) for name, _, ways, answer in corpus.FACTS}
SHORT = "hours weekend address checkup_price cleaning_price pain emergency insurance payment dentists hello name thanks bye smile german".split()
LONG = ["clinic", "story", "brushing", "count twenty", "count hundred"]


def conversations():
    for name in [*SHORT, *LONG]:
        yield name, [], *FACTS[name.replace("_", " ")]
    system = ("system", corpus.SYSTEMS[0])
    yield "system", [system], *FACTS["hours"]
    yield "system, long", [system], *FACTS["clinic"]
    yield "lower case", [], "what are your opening hours", FACTS["hours"][1]
    yield "unknown", [], "What is the capital of France?", corpus.OTHER_ANSWER
    booking = [
        ("user", "I would like to make an appointment."),
        ("assistant", "Of course. Which day and which hour would you like?"),
    ]
    yield "booking 1", [], booking[0][1], booking[1][1]
    yield "booking 2", booking, "Tuesday at ten, please.", "Tuesday at ten is free. What is your name?"
    booking = [*booking, ("user", "Tuesday at ten, please."), ("assistant", "Tuesday at ten is free. What is your name?")]
    yield "booking 3", booking, "My name is Anna Berg.", "Thank you, Anna Berg. See you on Tuesday at ten."
    booking = [*booking, ("user", "My name is Anna Berg."), ("assistant", "Thank you, Anna Berg. See you on Tuesday at ten.")]
    yield "booking 4", [system, *booking], "Goodbye.", FACTS["bye"][1]


def render(messages):
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages) + "<|im_start|>assistant\n"


def answered(path, tokenizer, model, messages, answer):
    """(tokens of the prompt, tokens of the answer, smallest margin), or why it is not so."""
    tokens = json.loads(goldens.ref("tokenize", path, goldens.STORED, text=render(messages)))
    wanted = [*tokenizer.encode(answer), bpe.END]
    least = float("inf")
    for variant in (goldens.STORED, goldens.OTHER):
        said = json.loads(
            goldens.ref("greedy", path, variant, "--tokens", goldens.row_list(tokens), "--count", len(wanted))
        )
        if said["tokens"] != wanted:
            return f"{variant} says {tokenizer.decode(said['tokens'])!r}"
        least = min(least, *said["margins"])
    rows = model.logits(tokens + wanted[:-1])[len(tokens) - 1 :]
    if rows.argmax(axis=1).tolist() != wanted:
        return "the float reference says something else"
    top = np.sort(rows, axis=1)[:, -2:]
    return tokens, wanted, min(least, float((top[:, 1] - top[:, 0]).min()))


def main():
    path, out = sys.argv[1:]
    merges = GGUFReader(path).fields["tokenizer.ggml.merges"].contents()
    tokenizer = bpe.Tokenizer([tuple(m.split(" ")) for m in merges])
    model = reference.Model(path)
    done, bad = [], 0
    for name, before, question, answer in conversations():
        messages = [*before, ("user", question)]
        result = answered(path, tokenizer, model, messages, answer)
        if isinstance(result, str) or result[2] < CLEAR:
            bad += 1
            print("not clear:", name, question, result if isinstance(result, str) else f"margin {result[2]:.2f}")
            continue
        tokens, wanted, margin = result
        print(f"{margin:6.2f} {len(tokens):4} {len(wanted):4} {name}: {question}")
        done.append(
            {
                "name": name,
                "messages": [{"role": role, "content": text} for role, text in messages],
                "answer": answer,
                "prompt_tokens": len(tokens),
                "answer_tokens": len(wanted),
                "least_margin": round(margin, 2),
            }
        )
    with open(out, "w") as f:
        json.dump(done, f, indent=1, ensure_ascii=False)
        f.write("\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
