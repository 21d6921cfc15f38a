"""Sources → parts on disk → a corpus: restartable, over many processes, in bounded memory.

A part holds the rows of one source, `KEY.jsonl`, and what must be known of each to drop duplicates
and to draw a sample, `KEY.npy`. `KEY.json` comes last: without it a part is collected again. The
key is of the source's name and state and of all that decides its rows.
"""

import collections
import contextlib
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from jaxbpc.errors import InputError
from jaxbpc.prepare import dedup, sample, writer
from jaxbpc.utils import processes, progress
from jaxbpc.utils.files import write_json

# Of a row: the digest of what makes it a duplicate, characters, UTF-8 bytes, bytes of its line.
_INDEX = np.dtype([("digest", "V16"), ("characters", "<u4"), ("bytes", "<u4"), ("line", "<u4")])
CUT_SHORT = "sources_cut_short"  # counted beside the reasons why a document is left out


def collect(
    units: list[pathlib.Path], work: Any, settings: str, folder: pathlib.Path, workers: int
) -> tuple[list[pathlib.Path], dict[str, str]]:
    """Collects each source into a part of `folder`, but for those that are there.

    Args:
      units: the sources.
      work: with `state(unit) -> str` and `rows(unit, counts)`, which yields (row, what makes it a
        duplicate); both may raise InputError. It is sent to the processes.
      settings: all that decides a source's rows beside its state.
      workers: how many processes.

    Returns:
      (parts in the order of the sources, errors by source).
    """
    parts: dict[pathlib.Path, pathlib.Path] = {}
    failed: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{folder}: cannot be made ({e.strerror}): give another --out")
    for unit in units:
        try:
            about = f"{unit}\n{work.state(unit)}\n{settings}".encode("utf-8", "surrogateescape")
            parts[unit] = folder / f"{hashlib.sha256(about).hexdigest()[:32]}.jsonl"
        except InputError as e:
            _fail(failed, unit, str(e))
    todo = [pair for pair in parts.items() if not pair[1].with_suffix(".json").exists()]
    if len(todo) < len(parts):
        progress.tell(f"{len(parts) - len(todo)} of {len(units)} sources were done before")
    errors = processes.ordered(_collect, todo, work, min(workers, len(todo)) or 1)
    with contextlib.closing(errors):
        for (unit, _), error in zip(todo, errors, strict=True):
            if error:
                _fail(failed, unit, error)
    return [part for unit, part in parts.items() if str(unit) not in failed], failed


def _fail(failed: dict[str, str], unit: pathlib.Path, error: str) -> None:
    progress.tell(f"left out: {error}")
    failed[str(unit)] = error


def _collect(pair: tuple[pathlib.Path, pathlib.Path], work: Any) -> str | None:
    """Writes a source's part; the error where the source cannot be used."""
    unit, part = pair
    counts: collections.Counter[str] = collections.Counter()
    index = []
    try:
        with open(part, "wb") as file:
            for row, essence in work.rows(unit, counts):
                try:
                    line, text = writer.encode(row), row["content"]
                except UnicodeEncodeError:
                    counts["not_unicode"] += 1
                    continue
                file.write(line)
                digest = dedup.digest(essence.encode())
                index.append((digest, len(text), len(text.encode()), len(line)))
        np.save(part.with_suffix(".npy"), np.array(index, _INDEX))
    except InputError as e:
        return str(e)
    except OSError as e:
        if e.filename not in (None, str(part), str(part.with_suffix(".npy"))):
            return f"{e.filename}: cannot be read ({e.strerror}): check the file"
        raise InputError(f"{part}: cannot be written ({e.strerror}): make room there")
    write_json(part.with_suffix(".json"), counts)
    summary = [f"{len(index):,} documents", *(f"{n:,} {what}" for what, n in counts.items())]
    progress.tell(f"{unit}: {', '.join(summary)}")
    return None


def merge(
    parts: list[pathlib.Path], corpus: writer.Writer, characters: int | None, seed: int
) -> collections.Counter[str]:
    """Writes the parts' rows without duplicates, the first of each kept, in order.

    Args:
      characters: of a sample of the rows, drawn by `seed`; None: all of them.

    Returns:
      What the parts have counted, with duplicates and rows outside of the sample.
    """
    counts: collections.Counter[str] = collections.Counter()
    beside = corpus.part.with_name
    with contextlib.ExitStack() as stack:
        exact = stack.enter_context(dedup.Exact(beside(f"{corpus.part.name}.seen")))
        chosen = None
        if characters is not None:
            path = beside(f"{corpus.part.name}.sample")
            chosen = stack.enter_context(sample.Sample(path, characters, seed))
        kept = 0
        for part in parts:
            counts.update(json.loads(part.with_suffix(".json").read_text()))
            with open(part, "rb") as file:
                for digest, n_characters, n_bytes, length in np.load(part.with_suffix(".npy")):
                    line = file.read(int(length))
                    if not exact.is_new(digest.tobytes()):
                        counts["duplicate"] += 1
                        continue
                    kept += 1
                    if chosen:
                        key = digest.tobytes().hex()
                        chosen.add(key, line, int(n_characters), int(n_bytes))
                    else:
                        corpus.add_line(line, int(n_characters), int(n_bytes))
        if chosen:
            for line, n_characters, n_bytes in chosen.lines():
                corpus.add_line(line, n_characters, n_bytes)
            counts["not_sampled"] = kept - corpus.documents
    return counts
