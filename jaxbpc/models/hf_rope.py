"""Reading RoPE's settings from a config.json, in the spellings of old files and new ones."""

import dataclasses
import math
from collections.abc import Callable, Mapping

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Rope
from jaxbpc.models.hf_config import Fields


def read_rope(
    fields: Fields,
    default_theta: float = 10000.0,
    kind_of_layer: str | None = None,
    whole: bool = False,
) -> Rope:
    """The RoPE settings, from `rope_parameters`, or `rope_theta` and `rope_scaling` of older files.

    Args:
      kind_of_layer: its entry of a `rope_parameters` that differs between kinds of layers.
      whole: the family turns whole heads; a partial rotary factor is refused.

    Raises:
      InputError: a kind or key that is not handled.
    """
    theta = fields.get("rope_theta", float, default_theta)
    share = fields.get("partial_rotary_factor", float, 1.0)
    length = fields.get("max_position_embeddings", int, 2048)
    outer = fields.optional("original_max_position_embeddings")
    new, old = fields.optional("rope_parameters"), fields.optional("rope_scaling")
    if new and old and new != old:
        raise InputError(
            f"{fields.where}: `rope_parameters` and `rope_scaling` differ: remove the one that the "
            "model was not trained with"
        )
    given = new or old or {}
    where = f"{fields.where}: `{'rope_parameters' if new else 'rope_scaling'}`"
    if isinstance(given, Mapping) and kind_of_layer in given:
        given = given[kind_of_layer]
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {given!r}: it is an object, fix the file")
    inner = Fields(given, where)
    kind = inner.get("rope_type", str, inner.get("type", str, "default"))
    kind = "longrope" if kind == "su" else kind
    theta, share = (
        inner.get("rope_theta", float, theta),
        inner.get("partial_rotary_factor", float, share),
    )
    if whole and share != 1:
        raise InputError(f"{where}: `partial_rotary_factor` {share}: this family turns whole heads")
    if kind not in _ROPE:
        raise InputError(f"{where} is of type {kind!r}; handled: {', '.join(sorted(_ROPE))}")
    original = inner.get("original_max_position_embeddings", int, outer or length)
    if outer:
        original = fields.get("original_max_position_embeddings", int)
    rope = _ROPE[kind](Rope(theta, kind, share), inner, length, original)
    inner.finish()
    return rope


def fit_rope(fields: Fields, rope: Rope, head_size: int) -> Rope:
    """`rope` with the number of dimensions that it turns, checked to fit heads of `head_size`."""
    size = rope.size or int(head_size * rope.share)
    least = 4 if rope.kind in ("dynamic", "steps") else 2  # their theta grows by size / (size - 2)
    if size % 2 or not least <= size <= head_size:
        raise InputError(
            f"{fields.where}: RoPE over {size} of {head_size} dimensions of a head: it turns "
            "pairs, fix the partial rotary factor"
        )
    for factors in (rope.short_factor, rope.long_factor):
        good = all(isinstance(f, int | float) and f > 0 for f in factors)
        if factors and (len(factors) != size // 2 or not good):
            raise InputError(
                f"{fields.where}: longrope's factors are {len(factors)} for {size // 2} pairs: "
                "one positive number each"
            )
    return dataclasses.replace(rope, size=size, share=1.0)


def _default(rope: Rope, inner: Fields, length: int, original: int) -> Rope:
    return rope


def _linear(rope: Rope, inner: Fields, length: int, original: int) -> Rope:
    return dataclasses.replace(rope, factor=inner.get("factor", float))


def _dynamic(rope: Rope, inner: Fields, length: int, original: int) -> Rope:
    return dataclasses.replace(rope, factor=inner.get("factor", float), original_length=length)


def _llama3(rope: Rope, inner: Fields, length: int, original: int) -> Rope:
    return dataclasses.replace(
        rope,
        factor=inner.get("factor", float),
        low_freq_factor=inner.get("low_freq_factor", float),
        high_freq_factor=inner.get("high_freq_factor", float),
        original_length=original,
    )


def mscale(factor: float, scale: float) -> float:
    """YaRN's correction of the attention's temperature (arXiv 2309.00071, section 3.4)."""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _yarn(rope: Rope, inner: Fields, length: int, original: int) -> Rope:
    factor = inner.get("factor", float, length / original)
    over, under = (inner.get(name, float, 0.0) for name in ("mscale", "mscale_all_dim"))
    inferred = mscale(factor, 1.0)
    if over and under:
        inferred = mscale(factor, over) / mscale(factor, under)
    return dataclasses.replace(
        rope,
        factor=factor,
        original_length=original,
        beta_fast=inner.get("beta_fast", float, 32.0),
        beta_slow=inner.get("beta_slow", float, 1.0),
        truncate=inner.get("truncate", bool, True),
        attention_factor=inner.get("attention_factor", float, inferred),
    )


def _longrope(rope: Rope, inner: Fields, length: int, original: int) -> Rope:
    if original < 2:
        raise InputError(f"{inner.where}: `original_max_position_embeddings` {original}: fix it")
    factor = inner.get("factor", float, length / original)
    inferred = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return dataclasses.replace(
        rope,
        original_length=original,
        short_factor=tuple(inner.get("short_factor", list)),
        long_factor=tuple(inner.get("long_factor", list)),
        attention_factor=inner.get("attention_factor", float, inferred),
    )


_ROPE: dict[str, Callable[[Rope, Fields, int, int], Rope]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
