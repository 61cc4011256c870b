"""What the published weights answer, by the reference forward pass of silero-vad's
tinygrad_model.py, done in NumPy. Usage: golden.py WEIGHTS.safetensors IN.wav OUT.json"""
import json, sys, wave
import numpy as np
from safetensors.numpy import load_file

weights = {name: value.astype(np.float64) for name, value in load_file(sys.argv[1]).items()}

def convolve(x, name, stride, padding):
    w, b = weights[name + ".weight"], weights.get(name + ".bias")
    x = np.pad(x, ((0, 0), (padding, padding)))
    size = w.shape[2]
    out = [np.einsum("oik,ik->o", w, x[:, at:at + size])
           for at in range(0, x.shape[1] - size + 1, stride)]
    out = np.stack(out, axis=1)
    return out if b is None else out + b[:, None]

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def window(x, h, c):
    x = np.pad(x, (0, 64), mode="reflect")[None, :]
    x = convolve(x, "stft_conv", 128, 0)
    x = np.sqrt(x[:129] ** 2 + x[129:] ** 2)
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
        x = np.maximum(convolve(x, name, stride, 1), 0)
    gates = (weights["lstm_cell.weight_ih"] @ x[:, 0] + weights["lstm_cell.bias_ih"]
             + weights["lstm_cell.weight_hh"] @ h + weights["lstm_cell.bias_hh"])
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    said = weights["final_conv.weight"][:, :, 0] @ np.maximum(h, 0) + weights["final_conv.bias"]
    return float(sigmoid(said)[0]), h, c

with wave.open(sys.argv[2]) as file:
    assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
    pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
sound = pcm.astype(np.float64) / 32768
sound = np.pad(sound, (64, -len(sound) % 512))
h = c = np.zeros(128)
answers = []
for at in range(64, len(sound), 512):
    answer, h, c = window(sound[at - 64:at + 512], h, c)
    answers.append(round(answer, 7))
json.dump(answers, open(sys.argv[3], "w"))
