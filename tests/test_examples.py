"""The training loop of examples/: BPC falls; the last value, by numpy in float64."""

import importlib.util
import math
import pathlib

import jax
import numpy as np
import pytest
from flax import nnx

from jaxbpc.analysis import training_curve
from jaxbpc.parallel import sharding

PATH = pathlib.Path(__file__).parents[1] / "examples" / "train.py"


def normed(x, scale):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * scale


def soft(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def nats(p, ids, n_layers, n_heads):
    """-ln p of each of ids[1:]."""
    x = p["embed.embedding"][ids[:-1]] + p["positions.embedding"][: len(ids) - 1]
    T, D = x.shape
    hidden = np.triu(np.full((T, T), -np.inf), 1)
    for layer in (f"blocks.{i}." for i in range(n_layers)):
        qkv = normed(x, p[f"{layer}norm1.scale"]) @ p[f"{layer}qkv.kernel"]
        q, k, v = qkv.reshape(T, 3, n_heads, -1).transpose(1, 2, 0, 3)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(D / n_heads) + hidden
        attended = (soft(scores) @ v).transpose(1, 0, 2).reshape(T, D)
        x = x + attended @ p[f"{layer}out.kernel"]
        up = normed(x, p[f"{layer}norm2.scale"]) @ p[f"{layer}up.kernel"] + p[f"{layer}up.bias"]
        x = x + np.maximum(up, 0) @ p[f"{layer}down.kernel"] + p[f"{layer}down.bias"]
    probabilities = soft(normed(x, p["norm.scale"]) @ p["head"].T)
    return -np.log(probabilities[np.arange(T), ids[1:]])


@pytest.mark.long
def test_bpc_falls_to_what_numpy_computes(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("train", PATH)
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    documents = sorted(train.texts(), key=len)[:80]
    monkeypatch.setattr(train, "texts", lambda: documents)
    mesh = sharding.make_mesh((1, 1, 1), jax.devices()[:1])  # as for one who starts it
    monkeypatch.setattr(train.sharding, "make_mesh", lambda _: mesh)
    with jax.numpy_dtype_promotion("standard"):  # as optax needs it
        params, stream = train.main(tmp_path / "run", steps=100)
    (found,), _ = training_curve.split([str(tmp_path / "run")])
    results = [run.results for run in found.runs]
    assert [result.training["step"] for result in results] == [0, 50, 100]
    assert [result.training["tokens"] for result in results] == [0, 102_400, 204_800]
    bpc = [result.corpora["python"].bpc for result in results]
    assert bpc[0] > bpc[1] > bpc[2]
    p = {
        ".".join(map(str, path)): np.asarray(value[...], np.float64)
        for path, value in nnx.to_flat_state(params)
    }
    block, stride = train.WINDOW
    ids = stream.token_ids.astype(np.int64)
    total = 0.0
    for begin in range(0, len(ids) - block, stride):
        scored = nats(p, ids[begin : begin + block + 1], train.LAYERS, train.HEADS)
        total += scored[-stride if begin else 0 :].sum()
    characters = sum(map(len, documents[::40]))
    assert bpc[2] == pytest.approx(total / (characters * math.log(2)), rel=2e-6)
    assert results[2].model["parameters"] == sum(value.size for value in p.values())
