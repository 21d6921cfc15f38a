"""Sources → parts on disk → a corpus: restartable, over many processes, in bounded memory.

A part holds the rows of one source, `KEY.jsonl`, and 20 bytes a row of what must be known to drop
duplicates and to draw a sample, `KEY.npy`. `KEY.json` comes last: without it a part is collected
again. The key is of the source's name and state and of all that decides its rows.
"""

import collections
import concurrent.futures
import hashlib
import json
import multiprocessing
import pathlib
from typing import Any

import numpy as np

from jaxbpc import progress
from jaxbpc.errors import InputError
from jaxbpc.record import write_json
from jaxbpc.text import writer

# Of a row: a hash of what makes it a duplicate, characters, UTF-8 bytes, bytes of its line.
_INDEX = np.dtype([("key", "<u8"), ("characters", "<u4"), ("bytes", "<u4"), ("line", "<u4")])
CUT_SHORT = "sources_cut_short"  # counted beside the reasons why a document is left out
_shared: dict[str, Any] = {}


def collect(
    units: list[pathlib.Path], work: Any, settings: str, folder: pathlib.Path, jobs: int
) -> tuple[list[pathlib.Path], dict[str, str]]:
    """Collects each source into a part of `folder`, but for those that are there.

    Args:
      units: the sources.
      work: with `state(unit) -> str` and `rows(unit, counts)`, which yields (row, what makes it a
        duplicate); both may raise InputError. It is sent to other processes.
      settings: all that decides a source's rows beside its state.
      jobs: how many processes.

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
    todo = [unit for unit, part in parts.items() if not part.with_suffix(".json").exists()]
    if len(todo) < len(parts):
        progress.tell(f"{len(parts) - len(todo)} of {len(units)} sources were done before")
    if jobs == 1 or len(todo) < 2:
        for unit in todo:
            if error := _collect(unit, parts[unit], work):
                _fail(failed, unit, error)
    else:
        _collect_in_processes(todo, parts, work, failed, min(jobs, len(todo)))
    return [part for unit, part in parts.items() if str(unit) not in failed], failed


def _fail(failed: dict[str, str], unit: pathlib.Path, error: str) -> None:
    progress.tell(f"left out: {error}")
    failed[str(unit)] = error


def _collect_in_processes(todo, parts, work, failed: dict[str, str], jobs: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, spawn, _share, (work,)) as pool:
        try:
            futures = {pool.submit(_collect, unit, parts[unit]): unit for unit in todo}
            for future in concurrent.futures.as_completed(futures):
                if error := future.result():
                    _fail(failed, futures[future], error)
        except BaseException:
            # Whoever stops the command waits for no source to come to its end.
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _share(work: Any) -> None:
    """Gives a process once what all its sources need."""
    _shared["work"] = work


def _collect(unit: pathlib.Path, part: pathlib.Path, work: Any = None) -> str | None:
    """Writes a source's part; the error where the source cannot be used."""
    work = work or _shared["work"]
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
                digest = hashlib.blake2b(essence.encode(), digest_size=8).digest()
                key = int.from_bytes(digest, "little")
                index.append((key, len(text), len(text.encode()), len(line)))
        np.save(part.with_suffix(".npy"), np.array(index, _INDEX))
    except InputError as e:
        return str(e)
    except OSError as e:
        if e.filename not in (None, str(part), str(part.with_suffix(".npy"))):
            return f"{e.filename}: cannot be read ({e.strerror}): check the file"
        raise InputError(f"{part}: cannot be written ({e.strerror}): make space there")
    write_json(part.with_suffix(".json"), counts)
    kept = f"{len(index):,} documents"
    progress.tell(f"{unit}: {kept}" + "".join(f", {n:,} {what}" for what, n in counts.items()))
    return None


def merge(
    parts: list[pathlib.Path], corpus: writer.Writer, characters: int | None, seed: int
) -> collections.Counter[str]:
    """Writes the parts' rows without duplicates, the first of each kept, in order.

    Args:
      characters: a sample of the rows, drawn by `seed`, of so many at most; None: all.

    Returns:
      What the parts have counted, with duplicates and rows outside of the sample.
    """
    counts: collections.Counter[str] = collections.Counter()
    for part in parts:
        counts.update(json.loads(part.with_suffix(".json").read_text()))
    indices = [np.load(part.with_suffix(".npy")) for part in parts]
    rows = np.concatenate(indices) if indices else np.zeros(0, _INDEX)
    kept = np.zeros(len(rows), bool)
    kept[np.unique(rows["key"], return_index=True)[1]] = True
    counts["duplicate"] = int(np.count_nonzero(~kept))
    if characters is not None:
        drawn = np.random.default_rng(seed).permutation(np.flatnonzero(kept))
        total = np.cumsum(rows["characters"][drawn], dtype=np.int64)
        kept[drawn[total > characters]] = False
        counts["not_sampled"] = int(np.count_nonzero(total > characters))
    start = 0
    for part, index in zip(parts, indices, strict=True):
        with open(part, "rb") as file:
            for row, keep in zip(index, kept[start : start + len(index)], strict=True):
                line = file.read(int(row["line"]))
                if keep:
                    corpus.add_line(line, int(row["characters"]), int(row["bytes"]))
        start += len(index)
    return counts
