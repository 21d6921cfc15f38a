"""From nats per token to bits per character.

The idea: BPC = total nats / (characters * ln 2); add first, divide once.

The complications: nats are float32 a token and are added exactly (`math.fsum`), so that a sum does
not depend on machine, batch or order. The reference number scores whole windows only but counts
the characters of every document; the full number scores every token but the first. Bytes give bits
per byte beside it. A beginning-of-sequence token that the tokenizer puts before each document is a
scored target of no characters: its share is told apart.
Source: arXiv 2404.09937, section 3; `code/evaluation/main.py` of its repository.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxbpc.data.windows import Plan
from jaxbpc.errors import NumberError
from jaxbpc.results import CorpusResult

_CHUNK = 1 << 16


def total_nats(nll: np.ndarray) -> float:
    """The exact sum of float32 nats, rounded to float64 once a chunk. `nll`: [n] float32."""
    chunks = range(0, len(nll), _CHUNK)
    return math.fsum(math.fsum(nll[i : i + _CHUNK].tolist()) for i in chunks)


def bits_per(nats: float, count: int) -> float | None:
    """Nats over a count of characters or bytes, in bits; None where there is nothing to divide."""
    return nats / (count * math.log(2)) if count else None


def corpus_result(
    nll: np.ndarray, plan: Plan, counts: dict[str, Any], bos: np.ndarray
) -> CorpusResult:
    """One corpus's result.

    Args:
      nll: [n_tokens] float32 nats a token; NaN where a token is not scored.
      plan: the windows that scored them.
      counts: `characters`, `bytes`, `documents`, `empty_documents`, `corpus_sha256`.
      bos: [n] positions of the tokens that stand for no text, put before each document.

    Raises:
      NumberError: the scored tokens are not exactly those of the plan.
    """
    if len(nll) != plan.n_tokens:
        raise NumberError(f"the record has {len(nll)} tokens, the plan {plan.n_tokens}")
    first = 1 if plan.n_all_windows else plan.n_tokens
    if not np.isfinite(nll[first:]).all() or np.isfinite(nll[:first]).any():
        missing = int(np.count_nonzero(~np.isfinite(nll[first:])))
        raise NumberError(
            f"{missing} of {plan.n_tokens - first} planned tokens have no finite score"
        )
    reference = nll[1 : 1 + plan.n_scored]
    nats, nats_full = total_nats(reference), total_nats(nll[first:])
    characters, n_bytes = counts["characters"], counts["bytes"]
    scored_bos = bos[(bos >= 1) & (bos < 1 + plan.n_scored)]
    has_windows, has_full = plan.n_windows > 0, plan.n_all_windows > 0
    return CorpusResult(
        bpc=bits_per(nats, characters) if has_windows else None,
        bpc_full=bits_per(nats_full, characters) if has_full else None,
        bpb=bits_per(nats, n_bytes) if has_windows else None,
        bpb_full=bits_per(nats_full, n_bytes) if has_full else None,
        nats=nats if has_windows else None,
        nats_full=nats_full if has_full else None,
        **counts,
        tokens=plan.n_tokens,
        windows=plan.n_windows,
        scored_tokens=plan.n_scored,
        unscored_tokens=plan.n_unscored,
        bos_tokens=len(scored_bos),
        bos_nats=total_nats(nll[scored_bos]),
        note=None if has_windows else _short_note(plan),
    )


def _short_note(plan: Plan) -> str:
    """Why a corpus has no reference number."""
    return (
        f"shorter than one window: {plan.n_tokens} tokens, the reference number needs "
        f"{plan.block_size + 1}; "
        + ("bpc_full scores what there is" if plan.n_all_windows else "bpc_full needs 2")
    )


def average_bpc(values: Iterable[float | None]) -> float | None:
    """The unweighted mean over corpora; None where one of them has no number."""
    values = list(values)
    if not values or any(value is None for value in values):
        return None
    return math.fsum(value for value in values if value is not None) / len(values)
