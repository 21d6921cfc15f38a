"""Arch: every difference between model families, as data.

`decoder.py` builds one model from it. A family's file turns a Hugging Face `config.json` into an
Arch (`hf_config.py` and `hf_rope.py` read it), and names the parameters that the tensors of its
checkpoints fill.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Norm:
    """x / rms(x), or (x - mean) / std for kind 'layer'; times (weight + offset), plus bias."""

    eps: float
    kind: str = "rms"
    offset: float = 0.0  # 1: the weight is stored as its difference from 1
    weight: bool = True
    bias: bool = False


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary position embedding, in the terms of transformers' `rope_parameters`.

    kind: 'default', 'linear', 'dynamic', 'llama3', 'yarn' or 'longrope', or 'steps' (Qwen 1's
    dynamic one); the rest holds where the kind uses it. Lengths are in tokens.
    """

    theta: float
    kind: str = "default"
    share: float = 1.0  # of each head, its first dimensions, that is rotated
    size: int = 0  # the same in dimensions, where it is no share of the head
    interleaved: bool = False  # pairs are (0, 1), (2, 3), …; else (0, H/2), (1, H/2 + 1), …
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0  # multiplies cos and sin
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (arXiv 2405.04434): sizes of its compressed states and heads."""

    query_rank: int | None
    kv_rank: int
    plain_size: int  # of a query or key head, without position
    rope_size: int  # of a query or key head, with position; the key's is shared by all heads
    value_size: int
    norm: Norm


@dataclasses.dataclass(frozen=True)
class Attention:
    """Softmax attention of a layer. `scale` multiplies the scores."""

    n_heads: int
    n_kv_heads: int
    head_size: int
    scale: float
    bias: bool = False  # of query, key and value
    out_bias: bool = False
    norm: Norm | None = None  # of queries and keys, before rotation
    norm_over: str = "head"  # 'head': one for all heads; 'heads': one each; 'all': over all at once
    clip: float | None = None  # queries, keys and values are held within ±clip
    softcap: float | None = None  # scores become softcap · tanh(scores / softcap)
    # Of more tokens than this, the query at the n-th is multiplied by ln(n) / ln(log_length).
    log_length: int | None = None
    sinks: bool = False  # a learned score that takes part in the sum alone (arXiv 2309.17453)
    latent: Latent | None = None


@dataclasses.dataclass(frozen=True)
class MLP:
    """down(act(gate) · up) where `gated`, else down(act(up))."""

    size: int
    activation: str
    gated: bool = True
    bias: bool = False


@dataclasses.dataclass(frozen=True)
class Clamped:
    """gate · sigmoid(slope · gate) · (up + 1), gate at most `limit`, up within ±limit (gpt-oss)."""

    slope: float
    limit: float


@dataclasses.dataclass(frozen=True)
class Experts:
    """A mixture of experts: `top` of `n` gated MLPs a token, none ever dropped."""

    n: int
    top: int
    size: int
    activation: str
    clamped: Clamped | None = None  # in place of act(gate) · up
    # Scores: 'softmax' or 'sigmoid' over all experts, or 'softmax_top' over the chosen ones.
    score: str = "softmax"
    normalize: bool = False  # the chosen ones' weights are divided by their sum
    scale: float = 1.0  # of the weights
    # Only `top_groups` of `groups` are chosen from, by the sum of the best `group_best` in each.
    groups: int = 1
    top_groups: int = 1
    group_best: int = 1
    correction: bool = False  # a bias that takes part in the choice alone
    router_bias: bool = False
    bias: bool = False
    shared: int = 0  # size of an MLP that every token goes through
    shared_gate: bool = False  # which a sigmoid of the token weighs


@dataclasses.dataclass(frozen=True)
class Layer:
    """What differs from layer to layer."""

    rope: Rope | None = None
    window: int | None = None  # a token sees itself and window - 1 before it
    experts: bool = False
    scale: float = 1.0  # of the attention's scores, beside Attention.scale


@dataclasses.dataclass(frozen=True)
class Arch:
    """One decoder-only transformer. Sizes are counts; `max_length` is in tokens.

    placement: where norms stand. 'pre': x + f(norm(x)); 'post': x + norm(f(x)); 'sandwich': both;
    'after': norm(x + f(x)); 'parallel': x + attention(norm(x)) + mlp(norm(x)) with one norm,
    'parallel2' with two.
    """

    family: str
    embed: int
    vocab_size: int
    max_length: int
    layers: tuple[Layer, ...]
    attention: Attention
    mlp: MLP
    norm: Norm
    experts: Experts | None = None
    placement: str = "pre"
    final_norm: bool = True
    tied: bool = False
    embed_size: int | None = None  # of the embedding and head, where it is not the model's
    embed_scale: float = 1.0
    residual_scale: float = 1.0  # of what a layer adds
    positions: int = 0  # learned positions; 0: none
    position_offset: int = 0
    position_limit: bool = False  # windows beyond max_length have no meaning at all
    key_bias: tuple[float, ...] = ()  # ALiBi (arXiv 2108.12409): a slope for each head
    key_bias_bfloat16: bool = False  # the products are rounded to bfloat16, as published
    key_bias_scale: float = 1.0  # of the products, after rounding
    head_bias: bool = False
    head_normalized: bool = False  # each row of the head has length 1
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    n_unused_layers: int = 0  # in the checkpoint after the last layer: other heads

    @property
    def n_layers(self) -> int:
        """How many layers there are."""
        return len(self.layers)


@dataclasses.dataclass(frozen=True)
class Parts:
    """How a tensor of a checkpoint fills more than one parameter, or fills it another way.

    parameters: names of what it fills, in order. A plain str in a family's NAMES is
    Parts((name,)). Where the tensor's name has {e}, the tensors of all experts (or heads) are
    stacked along a new first axis. Then, where `transposed`, the last two axes are swapped; then
    the rows (indices along `axis`) go to the parameters by `order`:

      'concat'  one parameter's rows after the other's
      'groups'  for each key head: its query heads, its key, its value
      'pairs'   rows of two parameters in turn
    """

    parameters: tuple[str, ...]
    order: str = "concat"
    transposed: bool = False
    axis: int = 0


@dataclasses.dataclass(frozen=True)
class Moved:
    """How a tensor of a training framework's tree holds tensors of a family's table.

    tensor: its name in the family's NAMES; {l} for the layer.
    axes: of the framework's tensor, a letter each: L layers, D model, N query heads, K key heads,
      H head, F mlp, V vocabulary.
    order: the same ones, but L, as the family's tensor has them: a word for each of its axes.
    root: multiplied by the square root of this axis's size.
    pairs: kinds of RoPE for which the framework stores H as (0, H/2), (1, H/2 + 1), …
    """

    tensor: str
    axes: str
    order: str
    root: str = ""
    pairs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tree:
    """A training framework's checkpoint of a family: names below `root` → what they hold.

    {l} in a name stands for the layer; a tensor with an axis L holds all layers. unused: patterns
    of names that are no weights.
    """

    root: str
    names: Mapping[str, Moved]
    unused: tuple[str, ...] = ()
