"""Documents to look at: the hardest, the easiest, and those on which two runs differ most.

The idea: a text is shown once, with every run's reading of it beside: where each of its tokens ends
and how many nats it took. The page colours any of them, or the difference of two, by characters.

The complications: the record has no text, so the corpus's file must still be there, with the same
hash; else the page goes without. Texts are hostile: a character that could move, hide or end what
stands around it is shown by another one, one for one, so that ends stay where they are.
"""

import dataclasses
import json
import math
import pathlib
import re

import numpy as np

from jaxbpc.analysis.bootstrap import Documents
from jaxbpc.analysis.compare import Comparison
from jaxbpc.analysis.runs import Run
from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.run import results
from jaxbpc.run.record import Record

_ENOUGH = 200  # characters; the BPC of shorter documents says little
_EACH = 2  # hardest and easiest documents of a corpus


@dataclasses.dataclass(frozen=True)
class Reading:
    """A run's reading of a document.

    bpc: of the whole document. before: nats of tokens that stand before its text. lengths: [k]
    characters of each token of the part that is shown; tokens that share a character are one.
    nats: [k]; None: not scored.
    """

    run: int
    bpc: float
    before: float
    lengths: list[int]
    nats: list[float | None]

    def packed(self) -> dict[str, object]:
        """For the page's script: nats in hundredths."""
        nats = [None if n is None else round(100 * n) for n in self.nats]
        return {"run": self.run, "lengths": self.lengths, "nats": nats}


@dataclasses.dataclass(frozen=True)
class Text:
    """A document: why it is shown, its text as far as it is shown, its readings by rank."""

    corpus: str
    row: int
    why: str
    characters: int
    shown: str
    readings: list[Reading]

    def packed(self) -> str:
        """Its readings as JSON without `<`: it can stand in a script element."""
        found = json.dumps([r.packed() for r in self.readings], separators=(",", ":"))
        return found.replace("<", "\\u003c")


@dataclasses.dataclass(frozen=True)
class _Member:
    """A run on a corpus: its rank, its name of the corpus, its documents."""

    rank: int
    run: Run
    corpus: str
    documents: Documents

    def bpc(self, rows: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self.documents.rows, rows)
        return self.documents.nats[at] / self.documents.characters[at] / math.log(2)


def gather(found: Comparison, most: int) -> tuple[list[Text], list[str]]:
    """Texts of at most `most` characters each, and why others are not there."""
    texts: list[Text] = []
    notes: list[str] = []
    for group in _groups(found):
        chosen = _choose(group, found)
        try:
            if not most:
                raise InputError("the page would be too large with them")
            written = _find(group, {row for row, _ in chosen})
        except InputError as e:
            notes.append(f"{group[0].corpus}: its texts are not shown: {e}")
            continue
        kept = [(row, why) for row, why in chosen if row in written]
        readings = [_readings(member, [row for row, _ in kept], most) for member in group]
        for i, (row, why) in enumerate(kept):
            text = written[row]
            mine = [read[i] for read in readings]
            shown = visible(text[:most])
            texts.append(Text(group[0].corpus, row, why, len(text), shown, mine))
    return texts, notes


def _groups(found: Comparison) -> list[list[_Member]]:
    """Runs that scored the same text, by the corpus's hash; of one document a row alone."""
    groups: dict[str, list[_Member]] = {}
    for name in found.corpora:
        for rank, ranked in enumerate(found.ranking):
            result = ranked.run.results.corpora.get(name)
            if result is None or not result.bpc_full:
                continue
            try:
                documents = ranked.run.documents(name)
            except InputError:
                continue  # the comparison's notes say so
            members = groups.setdefault(result.corpus_sha256, [])
            if all(m.run is not ranked.run for m in members):
                members.append(_Member(rank, ranked.run, name, documents))
    return [_alike(members) for members in groups.values()]


def _alike(members: list[_Member]) -> list[_Member]:
    """Those with the characters of the first one: another template is another text."""
    first = members[0].documents
    rows = first.rows
    for member in members[1:]:
        rows = np.intersect1d(rows, member.documents.rows)

    def characters(documents: Documents) -> np.ndarray:
        return documents.characters[np.searchsorted(documents.rows, rows)]

    want = characters(first)
    return [m for m in members if len(rows) and np.array_equal(characters(m.documents), want)] or [
        members[0]
    ]


def _choose(group: list[_Member], found: Comparison) -> list[tuple[int, str]]:
    """(row, why) of the documents to show, each once."""
    rows = group[0].documents.rows
    for member in group[1:]:
        rows = np.intersect1d(rows, member.documents.rows)
    sizes = group[0].documents.characters[np.searchsorted(group[0].documents.rows, rows)]
    least = _ENOUGH if (sizes >= _ENOUGH).sum() >= 2 * _EACH else 1
    rows = rows[sizes >= least]
    each = np.stack([member.bpc(rows) for member in group])
    scored = (each > 0).all(0)  # of a document of one token perhaps none is
    rows, each = rows[scored], each[:, scored]
    if not len(rows):
        return []
    order = np.argsort(each.mean(0), kind="stable")
    wanted = [(i, "among the hardest") for i in order[::-1][:_EACH]]
    wanted += [(i, "among the easiest") for i in order[:_EACH]]
    if len(group) > 1:
        ahead = each[0] - each[1]
        names = [found.ranking[m.rank].run.name for m in group[:2]]
        wanted.append((int(np.argmin(ahead)), f"{names[0]} at its best against {names[1]}"))
        wanted.append((int(np.argmax(ahead)), f"{names[1]} at its best against {names[0]}"))
    reasons: dict[int, list[str]] = {}
    for i, why in wanted:
        reasons.setdefault(int(rows[i]), []).append(why)
    return [(row, "; ".join(why)) for row, why in reasons.items()]


def _find(group: list[_Member], rows: set[int]) -> dict[int, str]:
    """{row: text} from the corpus's file, of whichever run names one that is still the same."""
    faults = []
    for member in group:
        data = member.run.results.config.get("data", {})
        result = member.run.results.corpora[member.corpus]
        try:
            path = _same_file(str(data.get("dir", "")), member.corpus, result)
            template = data.get("template", "{content}")
            return _rows(path, template, rows)
        except InputError as e:
            faults.append(str(e))
    raise InputError(faults[0])


def _same_file(directory: str, name: str, result: results.CorpusResult) -> pathlib.Path:
    if "://" in directory:
        raise InputError(f"{directory} is a bucket, bring {name} to a folder")
    path = corpora.find(directory, name)
    if corpora.file_sha256(path) != result.corpus_sha256:
        raise InputError(f"{path} has changed since it was scored")
    return path


def _rows(path: pathlib.Path, template: str, rows: set[int]) -> dict[int, str]:
    found = {}
    for document in corpora.documents(path, max(rows, default=-1) + 1, template):
        if document.row in rows:
            found[document.row] = document.text
    return found


def _readings(member: _Member, rows: list[int], most: int) -> list[Reading]:
    """A run's readings of some rows; of its record nothing else is kept."""
    record = Record.open(member.run.folder / member.corpus)
    nll, ends = record.read("nll"), record.read("token_char_end")
    documents = record.read("documents")
    first = np.append(documents[:, 0], len(nll))
    starts = np.cumsum(documents[:, 1]) - documents[:, 1]
    made = []
    for row, bpc in zip(rows, member.bpc(np.array(rows, int)), strict=True):
        i = int(np.searchsorted(documents[:, 3], row))
        own = slice(int(first[i]), int(first[i + 1]))
        shown = min(most, int(documents[i, 1]))
        made.append(reading(member.rank, float(bpc), nll[own], ends[own] - starts[i], shown))
    return made


def reading(run: int, bpc: float, nll: np.ndarray, ends: np.ndarray, shown: int) -> Reading:
    """A reading of a document's first characters.

    Args:
      nll: [n] float32 nats of the document's tokens; NaN: not scored.
      ends: [n] int64, ascending, where each ends in the document; negative: unknown.
      shown: characters that are shown.
    """
    if len(ends) and ends[0] < 0:
        return Reading(run, bpc, 0.0, [], [])
    last, group = np.unique(ends, return_inverse=True)
    scored = np.isfinite(nll)
    nats = np.bincount(group[scored], nll[scored].astype(np.float64), len(last))
    has = np.bincount(group[scored], minlength=len(last)) > 0
    before = float(nats[0]) if len(last) and last[0] == 0 else 0.0
    text = last > 0
    n = int(np.searchsorted(last[text], shown, side="left")) + 1
    lengths = np.diff(last[text], prepend=0)[:n].tolist()
    values = [
        round(float(v), 4) if ok else None for v, ok in zip(nats[text], has[text], strict=True)
    ]
    return Reading(run, bpc, before, lengths, values[:n])


def visible(text: str) -> str:
    """The text with one harmless character for each that could move, hide or end others.

    C0 controls become their pictures; other controls, noncharacters, and what orders text from
    right to left or isolates it become U+FFFD. Tabs and line feeds stay.
    """
    return _HOSTILE.sub(lambda found: _stand_in(found[0]), text)


_HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufdd0-\ufdef\ufff9-\uffff\U000e0000-\U000e007f]"
)


def _stand_in(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return {0x7F: "\u2421", 0x2028: "\u2424", 0x2029: "\u2424"}.get(code, "\ufffd")
