"""A short MP3 made with the PyPI package lameenc: a tone on the left from 0.50 to 1.00 s, one on
the right from 1.25 to 1.75 s. Usage: tones_mp3.py OUT.mp3"""
import math, struct, sys
import lameenc

RATE = 8000
def sample(n, hertz, start, end):
    on = start <= n / RATE < end
    return int(16000 * math.sin(2 * math.pi * hertz * n / RATE)) if on else 0

frames = [(sample(n, 400, 0.5, 1.0), sample(n, 700, 1.25, 1.75)) for n in range(2 * RATE)]
encoder = lameenc.Encoder()
encoder.set_bit_rate(32)
encoder.set_in_sample_rate(RATE)
encoder.set_channels(2)
encoder.set_quality(2)
pcm = b"".join(struct.pack("<hh", *frame) for frame in frames)
open(sys.argv[1], "wb").write(encoder.encode(pcm) + encoder.flush())
