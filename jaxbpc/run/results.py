"""What a run ends with: `results.json` as a dataclass, and its table for a terminal."""

import dataclasses
import json
import pathlib
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.utils.files import fingerprint, write_checked

SCHEMA = 1
_MOST_SUBSETS = 12  # in the table


@dataclasses.dataclass(frozen=True)
class CorpusResult:
    """One corpus. Nats are sums of -ln p over scored targets; None: there is no such number.

    bpc, bpb, nats, scored_tokens and bos_* are of the reference number, *_full of the one that
    scores every token but the first. `tokens` is N, `windows` those of the reference number.
    audit: what the tokenizer loses of the text. note: what to know before the number is believed.
    baselines: bits per character of compressors, by name (`data/compressors.py`).
    Intervals are [low, high], 95% over the choice of documents; None of fewer than two of them.
    subsets: by the rows' `subset`, documents, characters, bytes, tokens, nats, nats_full, bpc and
    bpc_full of each; None where no row has one. Documents without one are `(none)`. A subset whose
    tokens all stand in the tail has no bpc.
    min_k: how unlikely the documents' least likely tokens are (`contamination.py`).
    """

    bpc: float | None
    bpc_full: float | None
    bpb: float | None
    bpb_full: float | None
    nats: float | None
    nats_full: float | None
    characters: int
    bytes: int
    documents: int
    empty_documents: int
    tokens: int
    windows: int
    scored_tokens: int
    unscored_tokens: int
    bos_tokens: int
    bos_nats: float
    corpus_sha256: str
    audit: dict[str, Any] | None = None
    note: str | None = None
    bpc_interval: list[float] | None = None
    bpc_full_interval: list[float] | None = None
    subsets: dict[str, dict[str, Any]] | None = None
    baselines: dict[str, float] | None = None
    min_k: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Results:
    """A run's `results.json`, field by field; groups are plain dicts of JSON values.

    average_bpc: the unweighted mean over corpora; weighted_bpc: all nats over all characters.
    training: how far the model was trained, see `jaxbpc.evaluation.training_progress`.
    """

    model: dict[str, Any]
    window: dict[str, int]
    corpora: dict[str, CorpusResult]
    average_bpc: float | None
    runs: list[dict[str, Any]]
    speed: dict[str, float | None]
    config: dict[str, Any]
    environment: dict[str, Any]
    fingerprint: str
    schema: int = SCHEMA
    weighted_bpc: float | None = None
    training: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of `results.json`, the schema first."""
        return {"schema": self.schema} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Results":
        """The reverse of `to_json`. Raises TypeError or KeyError where fields are not those."""
        corpora = {name: CorpusResult(**values) for name, values in fields["corpora"].items()}
        return cls(**(fields | {"corpora": corpora}))


def write(path: pathlib.Path, results: Results) -> None:
    """Writes a `results.json`, with a checksum at its end. Raises InputError naming the file."""
    write_checked(path, results.to_json())


def read(path: pathlib.Path) -> Results:
    """Reads a `results.json`. Raises InputError naming the file."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("it holds no JSON object")
        if fields["schema"] != SCHEMA:
            raise InputError(f"{path}: schema {fields['schema']}, this jaxbpc reads {SCHEMA}")
        # Those of earlier versions have none.
        if fields.pop("checksum", None) not in (None, fingerprint(fields)):
            raise ValueError("wrong checksum: it is damaged, or was edited")
        return Results.from_json(fields)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; give a finished run's folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        reason = " ".join(str(e).split())[:120]
        raise InputError(f"{path}: no readable results ({reason}): give a finished run's folder")


def table(results: Results) -> str:
    """The results as a table for a terminal, notes beneath."""
    names = [f"  {s}" for r in results.corpora.values() for s in _shown(r)]
    width = max(12, *map(len, [*results.corpora, *names])) + 2
    head = (
        f"{'corpus':<{width}}{'BPC':>8}{'95% interval':>17}{'full':>9}{'BPB':>9}"
        f"{'characters':>14}{'documents':>11}{'tokens':>12}{'scored':>9}"
    )
    lines = [head, "-" * len(head)]
    notes = []
    for name, r in results.corpora.items():
        share = r.scored_tokens / r.tokens if r.tokens else 0.0
        lines.append(
            f"{name:<{width}}{_number(r.bpc, 8)}{_interval(r.bpc_interval, 17)}"
            f"{_number(r.bpc_full, 9)}{_number(r.bpb, 9)}"
            f"{r.characters:>14,}{r.documents:>11,}{r.tokens:>12,}{share:>9.2%}"
        )
        lines += _subset_lines(r, width)
        if r.note:
            notes.append(f"{name}: {r.note}")
    lines.append(f"{'average':<{width}}{_number(results.average_bpc, 8)}")
    if len(results.corpora) > 1:
        lines.append(f"{'weighted':<{width}}{_number(results.weighted_bpc, 8)}")
    return "\n".join(lines + _baselines(results, width) + notes)


def with_baselines(results: Results, found: dict[str, dict[str, float]]) -> Results:
    """The results with compressors' bits per character, by corpus and name."""
    corpora = {
        name: dataclasses.replace(corpus, baselines=found.get(name, corpus.baselines))
        for name, corpus in results.corpora.items()
    }
    return dataclasses.replace(results, corpora=corpora)


def _baselines(results: Results, width: int) -> list[str]:
    """Rows of compressors beneath the model's; none where there are no baselines."""
    made = {name: r.baselines for name, r in results.corpora.items() if r.baselines}
    if not made:
        return []
    names = list(dict.fromkeys(name for values in made.values() for name in values))
    lines = ["", f"{'compressors':<{width}}" + "".join(f"{name:>9}" for name in names)]
    for corpus, values in made.items():
        cells = "".join(_number(values.get(name), 9) for name in names)
        lines.append(f"{corpus:<{width}}{cells}")
    return lines


def _shown(result: CorpusResult) -> dict[str, dict[str, Any]]:
    """The largest subsets, where there is more than one."""
    found = result.subsets or {}
    order = sorted(found, key=lambda name: -found[name]["characters"])
    return {name: found[name] for name in order[:_MOST_SUBSETS]} if len(order) > 1 else {}


def _subset_lines(result: CorpusResult, width: int) -> list[str]:
    lines = []
    for name, s in _shown(result).items():
        bpb = None if s["bpc"] is None else s["bpc"] * s["characters"] / s["bytes"]
        lines.append(
            f"{f'  {name}':<{width}}{_number(s['bpc'], 8)}{'':17}{_number(s['bpc_full'], 9)}"
            f"{_number(bpb, 9)}{s['characters']:>14,}{s['documents']:>11,}{s['tokens']:>12,}"
        )
    n = len(result.subsets or {}) - len(lines)
    return [*lines, f"  and {n} more in results.json"] if lines and n else lines


def _number(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.4f}':>{width}}"


def _interval(limits: list[float] | None, width: int) -> str:
    return f"{'-' if limits is None else '{:.4f}–{:.4f}'.format(*limits):>{width}}"
