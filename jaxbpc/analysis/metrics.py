"""From nats per token to bits per character.

The idea: BPC = total nats / (characters * ln 2); add first, divide once.

The complications: nats are float32 a token and are added exactly (`math.fsum`), so that a sum does
not depend on machine, batch or order. The reference number scores whole windows only but counts
the characters of every document; the full number scores every token but the first. Bytes give bits
per byte beside it. A beginning-of-sequence token that the tokenizer puts before each document is a
scored target of no characters: its share is reported separately. A sum that is right may still be
of the wrong model, tokenizer or text: notes report the signs of that.
Source: arXiv 2404.09937, section 3; `code/evaluation/main.py` of its repository.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from jaxbpc.data.windows import Plan
from jaxbpc.errors import NumberError
from jaxbpc.run.results import CorpusResult

_CHUNK = 1 << 16
_NOTHING = 0.01  # nats per token; the best models need some 0.5 on source code


def total_nats(nll: np.ndarray) -> float:
    """The exact sum of float32 nats, rounded to float64 once a chunk. `nll`: [n] float32."""
    chunks = range(0, len(nll), _CHUNK)
    return math.fsum(math.fsum(nll[i : i + _CHUNK].tolist()) for i in chunks)


def bits_per(nats: float, count: int) -> float | None:
    """Nats over a count of characters or bytes, in bits; None where there is nothing to divide."""
    return nats / (count * math.log(2)) if count else None


def corpus_result(
    nll: np.ndarray,
    plan: Plan,
    counts: dict[str, Any],
    bos: np.ndarray,
    vocab_size: int,
    audit: dict[str, Any] | None = None,
    subsets: dict[str, dict[str, Any]] | None = None,
) -> CorpusResult:
    """One corpus's result.

    Args:
      nll: [n_tokens] float32 nats per token; NaN where a token is not scored.
      plan: the windows that scored them.
      counts: `characters`, `bytes`, `documents`, `empty_documents`, `corpus_sha256`.
      bos: [n] positions of the tokens that stand for no text, put before each document.
      vocab_size: of the model, for what a uniform one would give.
      audit: what the tokenizer loses, as `data.audit` counts it.
      subsets: as `by_subset` gives them.

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
        audit=audit,
        subsets=subsets,
        note="; ".join(_notes(nats_full, counts, plan, vocab_size, audit or {})) or None,
    )


def by_subset(
    nll: np.ndarray, plan: Plan, documents: np.ndarray, names: list[str]
) -> dict[str, dict[str, Any]] | None:
    """The same numbers of each subset's documents, for `CorpusResult.subsets`; None: no subsets.

    A subset that lies in the tail, which `bpc` leaves out, has none.

    Args:
      nll: [n_tokens] float32, NaN where not scored.
      documents: [n, 6] int64 in the columns of `windows.DOCUMENT_COLUMNS`, in the stream's order.
      names: of the subsets that the last column counts; -1: the document has none.
    """
    if not names:
        return None
    first, which = np.asarray(documents[:, 0]), np.asarray(documents[:, 5])
    n_tokens = np.diff(first, append=len(nll))
    ends = np.clip([first, first + n_tokens], 1, 1 + plan.n_scored)
    is_scored = ends[1] > ends[0]
    filled = np.flatnonzero(n_tokens > 0)  # reduceat would give an empty one its neighbour's token
    full = np.nan_to_num(nll, nan=0.0)
    reference = full.copy()
    reference[1 + plan.n_scored :] = 0
    sums = np.zeros((2, len(first)))
    for row, values in zip(sums, (reference, full), strict=True):
        row[filled] = np.add.reduceat(values, first[filled], dtype=np.float64)
    result = {}
    for index, name in [*enumerate(names), (-1, "(none)")]:
        mine = which == index
        if not mine.any():
            continue
        nats, nats_full = (math.fsum(row[mine].tolist()) for row in sums)
        characters = int(documents[mine, 1].sum())
        result[name] = {
            "documents": int(mine.sum()),
            "characters": characters,
            "bytes": int(documents[mine, 2].sum()),
            "tokens": int(n_tokens[mine].sum()),
            "nats": nats if plan.n_windows else None,
            "nats_full": nats_full if plan.n_all_windows else None,
            "bpc": bits_per(nats, characters) if is_scored[mine].any() else None,
            "bpc_full": bits_per(nats_full, characters) if plan.n_all_windows else None,
        }
    return result


def _notes(nats_full: float, counts, plan: Plan, vocab_size: int, audit) -> Iterator[str]:
    """What to know before the number is believed."""
    if not plan.n_windows:
        yield _short_note(plan)
    if plan.n_all_windows:
        mean, uniform = nats_full / (plan.n_tokens - 1), math.log(vocab_size)
        if mean > 0.999 * uniform:
            yield (
                f"{mean:.4g} nats per token are no better than a model's that knows nothing "
                f"(ln {vocab_size} = {uniform:.4g}): do weights, tokenizer and text fit together?"
            )
        if mean < _NOTHING:
            yield (
                f"{mean:.2g} nats per token are next to nothing: does the text repeat itself, or "
                "did the model learn it by heart?"
            )
    if n := audit.get("documents_not_restored"):
        yield (
            f"{n} of {counts['documents']} documents do not come back from their tokens, row "
            f"{audit['first_row_not_restored']} (from 0) is the first: the number is of a text "
            "that the tokenizer changes"
        )
    if n := audit.get("unknown_tokens"):
        yield (
            f"{n} tokens stand for text that the tokenizer does not know, row "
            f"{audit['first_row_unknown']} (from 0) is the first: the number is too low"
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


def weighted_bpc(results: Iterable[CorpusResult]) -> float | None:
    """All nats over all characters, so that a character counts the same in any corpus."""
    results = list(results)
    nats = [result.nats for result in results if result.nats is not None]
    if len(nats) < len(results):
        return None
    return bits_per(math.fsum(nats), sum(result.characters for result in results))
