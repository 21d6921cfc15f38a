"""What a model costs: bytes of its parameters and activations, floating-point operations."""

import dataclasses

import numpy as np

from jaxbpc.models import moe
from jaxbpc.models.arch import Arch
from jaxbpc.models.decoder import Decoder, n_parameters


def parameter_bytes(arch: Arch, own_head: bool, dtype: np.dtype) -> int:
    """Bytes of one copy of a model's parameters."""
    return n_parameters(Decoder(arch, dtype, "xla", own_head)) * dtype.itemsize


def gathered_bytes(arch: Arch, n_bytes: int, dtype: np.dtype) -> int:
    """What a device holds of others' parameters under fsdp: a layer at work, and the next.

    Experts that are too large for that stay where they are, and tokens come to them.
    """
    e, n_layers = arch.experts, max(arch.n_layers, 1)
    if e is None:
        return 2 * n_bytes // n_layers
    routed = 3 * e.n * e.size * arch.embed * dtype.itemsize
    dense = (n_bytes - routed * sum(layer.experts for layer in arch.layers)) // n_layers
    return 2 * (dense + (routed if routed <= moe.MOST_GATHERED else moe.MOST_ROUTED))


def activation_bytes(arch: Arch, length: int, dtype: np.dtype) -> int:
    """About the most that one window holds at a time in a step, beside the parameters."""
    a, e = arch.attention, arch.experts
    heads = (a.n_heads + 2 * a.n_kv_heads) * a.head_size
    if a.latent is not None:
        heads = a.n_heads * (2 * (a.latent.plain_size + a.latent.rope_size) + a.latent.value_size)
    mlp = 2 * arch.mlp.size
    if e is not None:
        mlp = max(mlp, e.top * (2 * e.size + 2 * arch.embed) + 2 * e.shared)
    stream = 4 * 4 * arch.embed  # float32: residual, norm, two sums
    wide = (4 + dtype.itemsize) * max(heads, mlp)
    scores = 4 * 3 * a.n_heads * 256  # a block of 256 queries on each of the keys
    logits = 4 * 2 * 128 * arch.vocab_size
    return length * (stream + wide + scores) + logits


@dataclasses.dataclass(frozen=True)
class Flops:
    """Useful floating-point operations of one window: matrix products, attention, head.

    experts: the products' share that routed experts do, a grouped product.
    """

    matmul: float
    attention: float
    head: float
    experts: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.matmul + self.attention + self.head


def flops(arch: Arch, length: int, rows: int) -> Flops:
    """What a window of `length` tokens needs whose last `rows` are scored.

    Of the last layer, queries, output and MLP are needed at the scored rows alone; attention
    counts the keys that a query may see. Padding is no use and is not counted.
    """
    matmul = attention = experts = 0.0
    for i, layer in enumerate(arch.layers):
        n = rows if i == arch.n_layers - 1 else length
        at_all, at_rows, per_pair = _attention_parameters(arch)
        matmul += 2 * (length * at_all + n * (at_rows + _mlp_parameters(arch, layer.experts)))
        attention += 2 * per_pair * _n_pairs(length, n, layer.window)
        if layer.experts and arch.experts is not None:
            experts += 2 * n * arch.embed * 3 * arch.experts.top * arch.experts.size
    head = 2.0 * rows * (arch.embed_size or arch.embed) * arch.vocab_size
    return Flops(matmul, attention, head, experts)


def training_flops(arch: Arch) -> float:
    """FLOPs of a training step for each token: 6 a parameter of the products that it goes through.

    Of the experts those that are chosen; attention's own products, which grow with length, are not
    counted, as usual in power laws (arXiv 2001.08361).
    """
    found = flops(arch, 1, 1)
    return 3 * (found.matmul + found.head)


def _attention_parameters(arch: Arch) -> tuple[int, int, int]:
    """(numbers that keys and values go through, queries and output, a query-key pair)."""
    a, d = arch.attention, arch.embed
    if a.latent is None:
        n = a.n_heads * a.head_size
        return 2 * d * a.n_kv_heads * a.head_size, 2 * d * n, 2 * n
    c = a.latent
    key = c.plain_size + c.rope_size
    values = d * (c.kv_rank + c.rope_size) + c.kv_rank * a.n_heads * (c.plain_size + c.value_size)
    query = d * a.n_heads * key
    if c.query_rank:
        query = c.query_rank * (d + a.n_heads * key)
    return values, query + a.n_heads * c.value_size * d, a.n_heads * (key + c.value_size)


def _mlp_parameters(arch: Arch, experts: bool) -> int:
    """Numbers that a token goes through in an MLP."""
    e = arch.experts
    if not experts or e is None:
        return (3 if arch.mlp.gated else 2) * arch.embed * arch.mlp.size
    return arch.embed * (e.n + 3 * e.top * e.size + 3 * e.shared + e.shared_gate)


def _n_pairs(length: int, rows: int, window: int | None) -> float:
    """Query-key pairs of the last `rows` queries."""
    seen = np.arange(length - rows + 1, length + 1)
    return float(np.sum(seen if window is None else np.minimum(seen, window)))
