"""A small transformer learns Python's own library, byte by byte; its BPC is followed as it does.

  python examples/train.py [OUT]

A minute on two cores. `jaxbpc.score` takes the live parameters every 50 steps, on files that are
not trained on; OUT (default: runs/train) then is a series of results:

  python -m jaxbpc.report OUT
  python -m jaxbpc.fit power OUT --x tokens

Any JAX model will do: what is needed is a function (parameters, ids [B, T]) → states [B, T, D], and
the matrix or function that makes logits of them.
"""

import pathlib
import sys
import sysconfig
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial

import jaxbpc
from jaxbpc.data import tokens
from jaxbpc.evaluation import score
from jaxbpc.parallel import sharding

STEPS, EVERY = 300, 50
BATCH, LENGTH, WIDTH, LAYERS, HEADS, VOCAB = 16, 128, 64, 2, 4, 256
WINDOW = (LENGTH, LENGTH // 2)


class Block(nnx.Module):
    """Causal attention, then an MLP, each on a normed residual stream."""

    def __init__(self, rngs: nnx.Rngs):
        self.norm1 = nnx.RMSNorm(WIDTH, rngs=rngs)
        self.qkv = nnx.Linear(WIDTH, 3 * WIDTH, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs)
        self.norm2 = nnx.RMSNorm(WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        B, T, _ = x_BTD.shape
        qkv = self.qkv(self.norm1(x_BTD)).reshape(B, T, 3, HEADS, WIDTH // HEADS)
        attended = jax.nn.dot_product_attention(*jnp.moveaxis(qkv, 2, 0), is_causal=True)
        x_BTD = x_BTD + self.out(attended.reshape(B, T, WIDTH))
        return x_BTD + self.down(jax.nn.relu(self.up(self.norm2(x_BTD))))


class Transformer(nnx.Module):
    """Bytes → states; the head is a matrix of its own."""

    def __init__(self, rngs: nnx.Rngs):
        self.embed = nnx.Embed(VOCAB, WIDTH, rngs=rngs)
        self.positions = nnx.Embed(LENGTH, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS)])
        self.norm = nnx.RMSNorm(WIDTH, rngs=rngs)
        self.head = nnx.Param(0.02 * rngs.params.normal((VOCAB, WIDTH)))

    def hidden(self, ids_BT: jax.Array) -> jax.Array:
        """[B, T, WIDTH]: all but the head."""
        x_BTD = self.embed(ids_BT) + self.positions(jnp.arange(ids_BT.shape[1]))
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)


def texts() -> list[str]:
    """This interpreter's own modules: the same for each release of Python."""
    files = sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def ids_of(text: str) -> np.ndarray:
    """The tokenizer: UTF-8."""
    return np.frombuffer(text.encode(), np.uint8)


def batches(ids: np.ndarray) -> Iterator[np.ndarray]:
    """[BATCH, LENGTH + 1] pieces, from anywhere, without end."""
    random = np.random.default_rng(0)
    while True:
        begins = random.integers(0, len(ids) - LENGTH, BATCH)
        yield np.stack([ids[i : i + LENGTH + 1] for i in begins]).astype(np.int32)


def main(out: pathlib.Path, steps: int = STEPS):
    """Trains; returns (parameters, held-out stream) for whoever wants to look."""
    documents = texts()
    held_out = tokens.of_texts(documents[::40], ids_of)
    train = np.concatenate([ids_of(t) for i, t in enumerate(documents) if i % 40])
    graph, params = nnx.split(Transformer(nnx.Rngs(0)))
    optimizer = optax.adamw(3e-3)
    state = optimizer.init(params)
    n_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    mesh = sharding.make_mesh((0, 0, 0))

    def hidden(params, ids_BT: jax.Array) -> jax.Array:
        return nnx.merge(graph, params).hidden(ids_BT)

    @jax.jit
    def update(params, state, batch):
        def loss(params):
            model = nnx.merge(graph, params)
            logits = model.hidden(batch[:, :-1]) @ model.head[...].T
            targets = batch[:, 1:]
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

        changes, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, changes), state

    print(f"{n_params:,} parameters, {len(train):,} bytes to learn\n")
    print(f"{'step':>6}{'tokens':>12}{'BPC':>9}")
    for step, batch in enumerate(batches(train)):
        if step % EVERY == 0:
            # The function stays the same and the parameters are data: it is compiled once.
            head = params["head"][...]
            result = jaxbpc.score(Partial(hidden, params), head, held_out, mesh, WINDOW)
            seen = step * BATCH * LENGTH
            training = {"step": step, "tokens": seen, "flops": 6.0 * n_params * seen}
            score.write(out / f"step{step}", {"python": result}, WINDOW, params, training)
            print(f"{step:>6}{seen:>12,}{result.bpc:>9.4f}", flush=True)
        if step == steps:
            break
        params, state = update(params, state, batch)
    return params, held_out


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "runs/train"))
