"""What the C code of the WebRTC gate decides, mode 3, 10 ms at 8 kHz, through the PyPI package
webrtcvad 2.0.10. The sound is made from speech-16k.wav: every second sample, louder and quieter,
with and without noise. Usage: webrtc.py speech-16k.wav OUT.txt"""
import sys, wave
import numpy, webrtcvad

with wave.open(sys.argv[1]) as file:
    speech = numpy.frombuffer(file.readframes(file.getnframes()), dtype="<i2")[::2].tolist()
state, sound = 1, []
for shift, noise in ((0, 0), (3, 0), (0, 600), (2, 200), (5, 30), (15, 2000), (1, 0)):
    for sample in speech:
        state = (state * 1103515245 + 12345) % 2**31
        sample = (sample >> shift) + (state >> 16) % (2 * noise + 1) - noise
        sound.append(max(-32768, min(32767, sample)))
gate = webrtcvad.Vad(3)
frames = [sound[at:at + 80] for at in range(0, len(sound) - 79, 80)]
packed = [numpy.array(frame, dtype="<i2").tobytes() for frame in frames]
open(sys.argv[2], "w").write("".join("01"[gate.is_speech(frame, 8000)] for frame in packed))
