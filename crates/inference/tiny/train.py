"""Trains the tiny model and writes it as GGUF. README.md says how it was run.

usage: train.py OUT.gguf [--steps N] [--every N]

One seed fixes everything: the corpus, the tokenizer, the first weights, the order of batches.
"""

import argparse
import functools
import os
import time

# One thread: the sums then have one order.
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np

import bpe
import corpus
import export

SEED = 20
VOCAB, EMBED, LAYERS, HEADS, KV_HEADS, FEED = 1024, 128, 4, 4, 2, 384
WIDTH = EMBED // HEADS
CONTEXT, ROPE_BASE, EPSILON = 512, 10000.0, 1e-5
STEPS, PEAK_RATE, WARM_UP = 1400, 3e-3, 100
# Rows and tokens of a step, for short documents and for long ones; how full they have to be.
WINDOWS, FULL = ((16, 128), (4, CONTEXT)), 0.97
DECAY, CLIP = 0.01, 1.0
# How much a token counts that the model only reads.
READ_WEIGHT = 0.05


def tokens_of(tokenizer, rng):
    """One document: its tokens, and how much the prediction of each counts."""
    if rng.random() < 0.04:
        tokens = tokenizer.encode(corpus.prose(rng)) + [bpe.END_OF_TEXT]
        return tokens, [0.3] * len(tokens)
    system, turns = corpus.conversation(rng)
    tokens, weights = [], []

    def add(role, text):
        head = [bpe.START, *tokenizer.encode(role + "\n")]
        body = [*tokenizer.encode(text), bpe.END]
        weight = 1.0 if role == "assistant" else READ_WEIGHT
        tail = tokenizer.encode("\n")
        tokens.extend(head + body + tail)
        weights.extend([READ_WEIGHT] * len(head) + [weight] * len(body) + [READ_WEIGHT] * len(tail))

    if system:
        add("system", system)
    for question, answer in turns:
        add("user", question)
        add("assistant", answer)
    return tokens, weights


def batches(tokenizer, rng):
    """Windows full of whole documents; short ones apart, since attention costs the window's square."""
    waiting = {shape: [] for shape in WINDOWS}
    while True:
        document = tokens_of(tokenizer, rng)
        shape = next((shape for shape in WINDOWS if len(document[0]) <= shape[1] + 1), None)
        if shape is None:
            continue
        waiting[shape].append(document)
        if sum(len(tokens) for tokens, _ in waiting[shape]) > FULL * shape[0] * shape[1]:
            batch, waiting[shape] = packed(waiting[shape], *shape)
            yield batch


def packed(documents, rows, length):
    """((tokens, weights, part), what found no room). `part` numbers the documents of a row, so
    that none sees another."""
    tokens = np.zeros((rows, length + 1), np.int32)
    weights = np.zeros((rows, length + 1), np.float32)
    part = np.zeros((rows, length + 1), np.int32)
    used, left = [0] * rows, []
    for number, document in enumerate(documents, 1):
        size = len(document[0])
        row = next((row for row in range(rows) if used[row] + size <= length + 1), None)
        if row is None:
            left.append(document)
            continue
        place = slice(used[row], used[row] + size)
        tokens[row, place], weights[row, place] = document
        # The first token of a document follows from nothing.
        weights[row, used[row]] = 0
        part[row, place] = number
        used[row] += size
    return (tokens, weights, part), left


def first_weights(rng):
    def matrix(rows, columns, scale):
        return jnp.asarray(rng.standard_normal((rows, columns), np.float32) * scale)

    kv = KV_HEADS * WIDTH
    out = 0.6 / np.sqrt(EMBED * LAYERS)
    params = {"embedding": matrix(VOCAB, EMBED, 0.05), "norm": jnp.ones(EMBED), "blocks": []}
    for _ in range(LAYERS):
        params["blocks"].append(
            {
                "attn_norm": jnp.ones(EMBED),
                "attn_q": matrix(EMBED, EMBED, EMBED**-0.5),
                "attn_k": matrix(kv, EMBED, EMBED**-0.5),
                "attn_v": matrix(kv, EMBED, EMBED**-0.5),
                "attn_output": matrix(EMBED, EMBED, out),
                "ffn_norm": jnp.ones(EMBED),
                "ffn_gate": matrix(FEED, EMBED, EMBED**-0.5),
                "ffn_up": matrix(FEED, EMBED, EMBED**-0.5),
                "ffn_down": matrix(EMBED, FEED, out * np.sqrt(EMBED / FEED)),
            }
        )
    return params


def norm(x, scale):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON) * scale


def rotate(x):
    half = WIDTH // 2
    angle = jnp.outer(jnp.arange(x.shape[1]), ROPE_BASE ** (-jnp.arange(half) / half))[None, :, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (even * jnp.cos(angle) - odd * jnp.sin(angle), even * jnp.sin(angle) + odd * jnp.cos(angle))
    return jnp.stack(turned, axis=-1).reshape(x.shape)


def logits(params, tokens, part):
    rows, length = tokens.shape
    causal = jnp.tril(jnp.ones((length, length), bool))
    seen = causal & (part[:, :, None] == part[:, None, :])
    x = params["embedding"][tokens]
    for block in params["blocks"]:
        h = norm(x, block["attn_norm"])
        q = rotate((h @ block["attn_q"].T).reshape(rows, length, HEADS, WIDTH))
        k = rotate((h @ block["attn_k"].T).reshape(rows, length, KV_HEADS, WIDTH))
        v = (h @ block["attn_v"].T).reshape(rows, length, KV_HEADS, WIDTH)
        k, v = (jnp.repeat(t, HEADS // KV_HEADS, axis=2) for t in (k, v))
        scores = jnp.einsum("bihd,bjhd->bhij", q, k) * WIDTH**-0.5
        scores = jax.nn.softmax(jnp.where(seen[:, None], scores, -1e9), axis=-1)
        mixed = jnp.einsum("bhij,bjhd->bihd", scores, v).reshape(rows, length, EMBED)
        x = x + mixed @ block["attn_output"].T
        h = norm(x, block["ffn_norm"])
        x = x + (jax.nn.silu(h @ block["ffn_gate"].T) * (h @ block["ffn_up"].T)) @ block["ffn_down"].T
    return norm(x, params["norm"]) @ params["embedding"].T


def loss(params, tokens, weights, part):
    rows = logits(params, tokens[:, :-1], part[:, :-1])
    chosen = jnp.take_along_axis(rows, tokens[:, 1:, None], axis=-1)[..., 0]
    missed = jax.nn.logsumexp(rows, axis=-1) - chosen
    return jnp.sum(missed * weights[:, 1:]) / jnp.sum(weights[:, 1:])


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def step(params, mean, square, number, rate, tokens, weights, part):
    """One step of AdamW; vectors do not decay."""
    value, slope = jax.value_and_grad(loss)(params, tokens, weights, part)
    size = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(slope)))
    slope = jax.tree.map(lambda g: g * jnp.minimum(1.0, CLIP / (size + 1e-6)), slope)
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slope)
    square = jax.tree.map(lambda s, g: 0.98 * s + 0.02 * g * g, square, slope)

    def moved(p, m, s):
        change = (m / (1 - 0.9**number)) / (jnp.sqrt(s / (1 - 0.98**number)) + 1e-8)
        return p - rate * (change + (DECAY * p if p.ndim > 1 else 0.0))

    return jax.tree.map(moved, params, mean, square), mean, square, value


def rate_at(number, steps):
    warm = min(1.0, number / WARM_UP)
    return PEAK_RATE * warm * 0.5 * (1 + np.cos(np.pi * number / steps))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--every", type=int, default=0, help="write the model every so many steps, too")
    options = parser.parse_args()

    rng = np.random.default_rng(SEED)
    texts = []
    for _ in range(4000):
        system, turns = corpus.conversation(rng)
        texts += [system or "", *(text for turn in turns for text in turn)]
    texts += ["system\n", "user\n", "assistant\n", "\n"]
    # Characters of more than one byte stay several tokens, which streams have to hold together.
    tokenizer = bpe.Tokenizer(bpe.learn([text for text in texts if text.isascii()], VOCAB))

    params = first_weights(rng)
    mean, square = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    began, smooth = time.time(), None
    for number, batch in enumerate(batches(tokenizer, rng), 1):
        params, mean, square, value = step(params, mean, square, number, rate_at(number, options.steps), *batch)
        smooth = float(value) if smooth is None else 0.95 * smooth + 0.05 * float(value)
        if number % 50 == 0:
            print(f"step {number} loss {smooth:.4f} {time.time() - began:.0f} s", flush=True)
        last = number == options.steps
        if last or (options.every and number % options.every == 0):
            export.write(options.out, params, tokenizer, shape())
        if last:
            break


def shape():
    return {
        "context": CONTEXT,
        "embed": EMBED,
        "layers": LAYERS,
        "heads": HEADS,
        "kv_heads": KV_HEADS,
        "feed": FEED,
        "rope_base": ROPE_BASE,
        "epsilon": EPSILON,
    }


if __name__ == "__main__":
    main()
