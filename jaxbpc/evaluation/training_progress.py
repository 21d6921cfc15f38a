"""How far a checkpoint was trained: step, tokens, FLOPs, from the config or its name.

Metadata only: no number depends on it. Power laws and curves over training are drawn from it.
"""

import fractions
import math
import re
from typing import Any

from jaxbpc.config import Settings

# step1000 (Pythia), stage1-step1000-tokens5B (OLMo), checkpoint-1000 (Hugging Face's Trainer),
# global_step1000 (DeepSpeed), iter_0001000 (Megatron), ep0-ba1000-rank0 (MosaicML's batches),
# 1000steps; also in thousands and millions. What is written on, as 1e3, 1,000 and 1.5, is no step.
_NUMBER = r"(\d+)((?:\.\d+)?[km])?"
_STEP = (
    rf"(?<![a-z])(?:(?:global_?step|steps?|checkpoint|ckpt|iter|iteration)[-_=]?|(?<![\da-f])ba)"
    rf"{_NUMBER}(?![\da-z]|[.,]\d|(?<!\d{{4}})_\d{{3}}(?!\d))"
    rf"|(?<![\da-z.,_]){_NUMBER}steps(?![a-z])"
)
_TOKENS = r"(?:^|[^a-z])tokens?[-_=]?(\d+(?:\.\d+)?)([kmbt])(?![a-z])"
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
# Parts of an Orbax step's folder that a path may end in.
_ITEMS = ("state", "items", "default", "params")


def of_name(name: str) -> tuple[int | None, float | None]:
    """(step, tokens) in a checkpoint's name; a number alone is Orbax's name of a step."""
    name = name.lower()
    steps = {_step(*filter(None, found.groups())) for found in re.finditer(_STEP, name)}
    if re.fullmatch(r"\d+", name):
        steps = {int(name)}
    tokens = re.search(_TOKENS, name)
    return (
        steps.pop() if len(steps) == 1 else None,  # of two nobody knows which
        float(tokens[1]) * _UNITS[tokens[2]] if tokens else None,
    )


def _step(digits: str, rest: str = "") -> int | None:
    """A number of steps, such as (50, k) or (1, .5m); None: it is not whole."""
    factor = int(_UNITS[rest[-1]]) if rest else 1
    steps = fractions.Fraction(digits + rest[:-1]) * factor
    return int(steps) if steps.denominator == 1 else None


def of(settings: Settings, flops_per_token: float) -> dict[str, Any]:
    """The `training` of a run's results: `step`, `tokens`, `flops`, each None where not known.

    What the config gives goes before what the revision says, and that before the folder's name.
    Tokens follow from the step by `training.tokens_per_step`, FLOPs from the tokens.

    Args:
      flops_per_token: of a training step, forward and backward.
    """
    step: int | None = settings.training_step
    tokens: float | None = settings.training_tokens
    folder = settings.model_path.rstrip("/").split("/")
    if len(folder) > 1 and folder[-1] in _ITEMS:
        folder.pop()
    for name in (settings.model_revision or "", folder[-1]):
        its_step, its_tokens = of_name(name)
        step = its_step if step is None else step
        if tokens is None and settings.training_tokens_per_step is None:
            tokens = its_tokens
    if tokens is None and step is not None and settings.training_tokens_per_step is not None:
        tokens = step * settings.training_tokens_per_step
    flops = settings.training_flops
    if flops is None and tokens is not None:
        flops = tokens * flops_per_token
    return {"step": step, "tokens": _whole(tokens), "flops": flops}


def _whole(tokens: float | None) -> int | float | None:
    return int(tokens) if tokens is not None and math.isfinite(tokens) else tokens
