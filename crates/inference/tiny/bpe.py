"""Byte-level byte-pair encoding: trained on word counts, with the word split that GGUF files
call `smollm` (every digit alone, then GPT-2's rule).
"""

import collections
import re

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, START, END = range(3)
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_names():
    """GPT-2's printable name of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            names[byte] = chr(byte)
        else:
            names[byte] = chr(256 + extra)
            extra += 1
    return names


NAMES = byte_names()


def words(text):
    for piece in re.split(r"([0-9])", text):
        if piece.isdigit():
            yield piece
        else:
            yield from WORD.findall(piece)


def join(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def learn(texts, vocab_size):
    """The merges, most frequent pair first; of equals the first in the alphabet."""
    counts = collections.Counter(word for text in texts for word in words(text))
    split = {word: [NAMES[b] for b in word.encode()] for word in counts}
    merges = []
    while len(SPECIALS) + 256 + len(merges) < vocab_size:
        pairs = collections.Counter()
        for word, symbols in split.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            raise ValueError("the corpus is too small for this vocabulary")
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for word, symbols in split.items():
            if best[0] in symbols:
                split[word] = join(symbols, best)
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = merges
        self.rank = {pair: i for i, pair in enumerate(merges)}
        self.tokens = SPECIALS + [NAMES[b] for b in range(256)] + [a + b for a, b in merges]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.known = {}

    def word(self, word):
        if word not in self.known:
            symbols = [NAMES[b] for b in word.encode()]
            while len(symbols) > 1:
                pair = min(zip(symbols, symbols[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if pair not in self.rank:
                    break
                symbols = join(symbols, pair)
            self.known[word] = [self.ids[s] for s in symbols]
        return self.known[word]

    def encode(self, text):
        """Plain text; the names of control tokens are not recognised."""
        return [token for word in words(text) for token in self.word(word)]

    def decode(self, tokens):
        bytes_of = {name: byte for byte, name in NAMES.items()}
        text = "".join(self.tokens[t] for t in tokens if t >= len(SPECIALS))
        return bytes(bytes_of[c] for c in text).decode(errors="replace")
