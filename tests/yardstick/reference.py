"""A llama model in plain numpy, from a GGUF file: dequantised weights, f32 activations.

Slow and short on purpose. It is what both llama.cpp and our engine approximate when they
quantise activations, so it says which of them is nearer to the model as written.
"""

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.field = lambda name: reader.fields[f"llama.{name}"].contents()
        tensors = {t.name: t for t in reader.tensors}
        self.names = set(tensors)
        self.weight = lambda name: dequantize(
            tensors[name].data, tensors[name].tensor_type
        ).astype(np.float32)
        self.heads = self.field("attention.head_count")
        self.kv_heads = self.field("attention.head_count_kv")
        self.width = self.field("embedding_length") // self.heads
        self.base = self.field("rope.freq_base")
        self.epsilon = self.field("attention.layer_norm_rms_epsilon")

    def norm(self, x, name):
        scale = np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True) + self.epsilon)
        return (x / scale).astype(np.float32) * self.weight(name)

    def rotate(self, x):
        """Turns pairs of neighbours (2i, 2i+1) by position x base^(-2i/width)."""
        rows, half = x.shape[0], self.width // 2
        angle = np.outer(np.arange(rows), self.base ** (-np.arange(half) / half))[:, None, :]
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = np.empty_like(x)
        turned[..., 0::2] = even * np.cos(angle) - odd * np.sin(angle)
        turned[..., 1::2] = even * np.sin(angle) + odd * np.cos(angle)
        return turned

    def attention(self, x, block):
        rows = len(x)
        q = self.rotate((x @ self.weight(f"{block}.attn_q.weight").T).reshape(rows, self.heads, self.width))
        k = self.rotate((x @ self.weight(f"{block}.attn_k.weight").T).reshape(rows, self.kv_heads, self.width))
        v = (x @ self.weight(f"{block}.attn_v.weight").T).reshape(rows, self.kv_heads, self.width)
        group = self.heads // self.kv_heads
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("ihd,jhd->hij", q, k).astype(np.float64) / np.sqrt(self.width)
        scores[:, np.triu(np.ones((rows, rows), bool), 1)] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", scores, v).astype(np.float32).reshape(rows, -1)
        return mixed @ self.weight(f"{block}.attn_output.weight").T

    def feed_forward(self, x, block):
        gate = x @ self.weight(f"{block}.ffn_gate.weight").T
        gate = gate / (1 + np.exp(-gate.astype(np.float64)))
        up = x @ self.weight(f"{block}.ffn_up.weight").T
        return (gate * up).astype(np.float32) @ self.weight(f"{block}.ffn_down.weight").T

    def logits(self, tokens):
        """One row of logits per token."""
        embedding = self.weight("token_embd.weight")
        x = embedding[tokens]
        for layer in range(self.field("block_count")):
            block = f"blk.{layer}"
            x = x + self.attention(self.norm(x, f"{block}.attn_norm.weight"), block)
            x = x + self.feed_forward(self.norm(x, f"{block}.ffn_norm.weight"), block)
        x = self.norm(x, "output_norm.weight")
        head = self.weight("output.weight") if "output.weight" in self.names else embedding
        return x @ head.T
