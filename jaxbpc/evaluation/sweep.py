"""Checkpoints of one training, scored one after the other: compiled once, tokenised once.

Each has a workdir of its own, a folder in the series'. One that is done is not loaded again; one
that fails is named, and the rest goes on. `series.json` logs its progress.
"""

import contextlib
import dataclasses
import gc
import json
import logging
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxbpc import config as config_lib
from jaxbpc.checkpoint import locate
from jaxbpc.data import corpora, tokens
from jaxbpc.errors import InputError, NumberError, one_line
from jaxbpc.evaluation import layout, loop, training_progress
from jaxbpc.evaluation.setup import Shared, tokenizer_folder, tracked
from jaxbpc.parallel import distributed
from jaxbpc.run import attempts, bucket, results, series_file
from jaxbpc.utils import paths
from jaxbpc.utils.files import write_json

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Checkpoint:
    """One of a series: the folder in the series' workdir, and its config.

    state: waiting, running, done or failed. error: why it failed, until it is done.
    """

    name: str
    config: Any
    state: str = "waiting"
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Its entry in `series.json`."""
        step, seen = _training_of(self.config)
        return {
            "name": self.name,
            "step": step,
            "tokens": seen,
            "state": self.state,
            "error": self.error,
        }


def find(
    config, pattern: str | None = None, revisions: list[str] | None = None
) -> list[Checkpoint]:
    """The checkpoints of a series by their steps, each with `config` but for path or revision.

    Args:
      pattern: of folders in `model.path`, such as step*; several with commas between them.
      revisions: of the hub id `model.path`.

    Raises:
      InputError: none, or fields that would be of one checkpoint alone.
    """
    given = [name for name in ("step", "tokens", "flops") if config.training[name] is not None]
    if given:
        raise InputError(
            f"config.training.{given[0]} is of one checkpoint: leave it out, steps are read from "
            "the names, and tokens follow by config.training.tokens_per_step"
        )
    if bool(pattern) == bool(revisions):
        raise InputError("give --checkpoints or --revisions, one of them")
    if pattern:
        fields = _by_folder(config, pattern)
    else:
        fields = [(name, {"model.revision": name}) for name in revisions or []]
    found = []
    for name, own in fields:
        copy = config.copy_and_resolve_references()
        copy.unlock()
        copy.update_from_flattened_dict(own)
        found.append(Checkpoint(re.sub(r"[^A-Za-z0-9_.=-]+", "-", name), copy))
    if len({checkpoint.name for checkpoint in found}) < len(found):
        raise InputError("two checkpoints of the series have the same name: give each once")
    return sorted(found, key=lambda checkpoint: _order(checkpoint.to_json()))


def run(config, found: list[Checkpoint], workdir: str | pathlib.Path) -> list[Checkpoint]:
    """Scores the checkpoints that `find` found; returns those that failed.

    Raises:
      InputError: what would be at fault with each of them, or another run in the workdir.
      Stopped: a signal ended it; the same call goes on.
    """
    shared = Shared()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(workdir)
        sha256: dict[str, str] = {}
        with distributed.together("reading the config and corpora"):
            settings = config_lib.validate(config)
            names = settings.data_corpora
            for name in names:
                sha256[name] = corpora.file_sha256(corpora.find(settings.data_dir, name))
            if distributed.is_writer():
                folder = stack.enter_context(bucket.worked_in(workdir))
                stack.enter_context(attempts.locked(folder))
                attempts.refuse_other(folder, "runs.json", "a run of one model")
            shared.tracker = stack.enter_context(tracked(settings, folder))
        distributed.check_same({"checkpoints": [checkpoint.name for checkpoint in found]})
        others = _others(folder, found) if distributed.is_writer() else []

        def tell() -> None:
            if distributed.is_writer():
                entries = [*others, *(checkpoint.to_json() for checkpoint in found)]
                write_json(folder / series_file.FILE, {"checkpoints": sorted(entries, key=_order)})

        for checkpoint in found:
            _run(checkpoint, folder, sha256, shared, tell)
    return [checkpoint for checkpoint in found if checkpoint.state == "failed"]


def _others(folder: pathlib.Path, found: list[Checkpoint]) -> list[dict[str, Any]]:
    """The entries of `series.json` that are not in this run; errors of `found` are kept.

    Until it is scored again, what a failed one has in its folder is of another checkpoint.
    """
    own = {checkpoint.name: checkpoint for checkpoint in found}
    others = []
    for entry in series_file.entries(folder):
        if checkpoint := own.get(entry["name"]):
            checkpoint.error = entry["error"]
            checkpoint.state = "failed" if checkpoint.error else "waiting"
        else:
            others.append(entry)
    return others


def _order(entry: dict[str, Any]) -> tuple:
    return entry.get("step") or 0, entry.get("tokens") or 0, entry["name"]


def _run(
    checkpoint: Checkpoint,
    folder: pathlib.Path,
    sha256: dict[str, str],
    shared: Shared,
    tell: Callable[[], None],
) -> None:
    """Scores one, unless that is done."""

    def now(state: str, error: str | None = None) -> None:
        checkpoint.state, checkpoint.error = state, error
        tell()

    own = folder / checkpoint.name
    try:
        with distributed.together("looking for what is done"):
            done = np.array(distributed.is_writer() and _is_done(checkpoint.config, own, sha256))
        if distributed.from_writer(done):
            if shared.tracker and distributed.is_writer():
                shared.tracker.results(results.read(own / "results.json"))
        else:
            now("running", checkpoint.error)
            gc.collect()  # flax 0.12.12: else the model before may still be held
            log.info("%s:", checkpoint.name)
            loop.run(checkpoint.config, own, shared)
        now("done")
    except (InputError, NumberError) as e:
        # One record of another run: those of the other corpora beside it are that run's as well.
        error = one_line(str(e).replace("remove this one", f"remove all of {own}"))
        log.error("%s failed: %s", checkpoint.name, error)
        now("failed", error)
    except BaseException:
        now("failed" if checkpoint.error else "waiting", checkpoint.error)
        raise


def _by_folder(config, pattern: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, fields) of each folder. A name is a path without the patterns' end, such as /hf."""
    patterns = list(filter(None, re.split(r",(?![^\[]*\])", pattern))) or [pattern]
    n_end = _common_end([pathlib.PurePosixPath(each).parts for each in patterns])
    place = paths.place(config.model.path)
    if not place.is_dir():
        raise InputError(
            f"{config.model.path} is no folder: give the one that holds the checkpoints"
        )
    fields = []
    for folder in dict.fromkeys(f for each in patterns for f in _folders(place, each)):
        parts = folder.relative_to(place).parts
        parts = parts[: len(parts) - n_end]
        own = {"model.path": str(folder)}
        if training_progress.of_name(folder.name) == (None, None):
            own |= _above(config, parts)
        fields.append(("-".join(parts), own))
    return fields


def _common_end(patterns: list[tuple[str, ...]]) -> int:
    """How many parts at the end of all patterns are the same, without a step of their own.

    As they are spelled, not as folders happen to be alike now: names stay as a series grows.
    """
    n = 0
    for ends in zip(*(reversed(parts[1:]) for parts in patterns), strict=False):
        has_step = training_progress.of_name(ends[0]) != (None, None)
        if len(set(ends)) > 1 or has_step or re.search(r"[*?\[]", ends[0]):
            break
        n += 1
    return n


def _above(config, parts: tuple[str, ...]) -> dict[str, Any]:
    """A checkpoint's training fields, from the last folder of its path whose name has them."""
    for i, name in enumerate(reversed(parts)):
        step, seen = training_progress.of_name(name)
        if (step, seen) != (None, None) and not (i and name.isdigit()):  # further up, say a year
            seen = seen if config.training.tokens_per_step is None else None
            return {"training.step": step, "training.tokens": seen}
    return {}


def _folders(place: Any, pattern: str) -> list[Any]:
    """The folders of a pattern. Raises InputError where there are none."""
    if paths.is_remote(pattern) or pattern[0] in "/~" or ".." in pattern.split("/"):
        raise InputError(
            f"--checkpoints is of folders in config.model.path, not {pattern!r}: give "
            "--config.model.path=FOLDER --checkpoints='step*'"
        )
    try:
        found = [
            folder
            for folder in place.glob(pattern)
            if folder.is_dir() and folder != place
            if not any(map(_is_unfinished, folder.relative_to(place).parts))
        ]
    except (ValueError, IndexError):  # as pathlib refuses `**step`, and `.`
        raise InputError(f"--checkpoints: {pattern!r} is no pattern; give a pattern such as step*")
    if not found:
        raise InputError(f"{place} has no folder {pattern!r}: give a pattern such as step*")
    return found


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or "-tmp-" in name


def _training_of(config) -> tuple[int | None, float | None]:
    """(step, tokens) of a checkpoint, as its results will report."""
    found = training_progress.of(config_lib.validate(config), 0.0)
    return found["step"], found["tokens"]


def _is_done(config, folder: pathlib.Path, sha256: dict[str, str]) -> bool:
    """Whether a checkpoint's results are those that scoring it again would give.

    Decided without loading it, by its files or by its revision's commit on the hub. A checkpoint
    in a bucket has neither: it is loaded and compared.
    """
    settings = config_lib.validate(config)
    path = folder / "results.json"
    if not path.exists() or paths.is_remote(settings.model_path):
        return False
    try:
        have = results.read(path)
    except InputError:
        return False
    want = json.loads(config.to_json_best_effort())
    groups = ("model", "training", "data", "window")
    before = [have.config.get(group) for group in groups]
    before += [{name: result.corpus_sha256 for name, result in have.corpora.items()}]
    before += [have.model["tokenizer_fingerprint"], have.model["dtype"]]
    now = [want[group] for group in groups] + [sha256]
    now += [tokens.tokenizer_fingerprint(tokenizer_folder(settings))]
    now += [str(layout.dtype_on(settings.model_dtype, jax.devices()[0]))]
    last = have.runs[-1] if have.runs else {}
    before += [last.get("files"), last.get("commit")]
    # The hub may be offline and its files not here: what is unknown counts as unchanged.
    revision = settings.model_revision or "main"
    now += [locate.files_state(settings.model_path) or last.get("files")]
    now += [locate.hub_commits(settings.model_path).get(revision, last.get("commit"))]
    return before == now
