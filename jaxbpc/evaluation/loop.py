"""The loop: dispatch step i, fetch step i-1, record it; at the end, reduce.

A run's record decides what is left to score, so that the same command after a kill goes on and ends
with the same digits. Every process runs the same steps; the first one alone writes.
"""

import contextlib
import importlib.metadata
import itertools
import json
import logging
import pathlib
import platform
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import numpy as np

import jaxbpc
from jaxbpc import config as config_lib
from jaxbpc.analysis import bootstrap, contamination, metrics
from jaxbpc.checkpoint import locate
from jaxbpc.data import batches, compressors, corpora
from jaxbpc.errors import InputError, Stopped
from jaxbpc.evaluation import step as step_lib
from jaxbpc.evaluation.setup import (
    Job,
    Loaded,
    Shared,
    check_same,
    identity,
    load_job,
    not_loaded,
    open_job,
    out_of_memory,
    tracked,
)
from jaxbpc.evaluation.tracking import Tracker
from jaxbpc.models.decoder import n_parameters
from jaxbpc.parallel import distributed, preemption, sharding
from jaxbpc.run import attempts, bucket
from jaxbpc.run import results as results_lib
from jaxbpc.run.record import Record
from jaxbpc.run.results import CorpusResult, Results, with_baselines
from jaxbpc.utils import paths
from jaxbpc.utils.files import fingerprint
from jaxbpc.utils.progress import Bar

log = logging.getLogger(__name__)
# Rounding may put -ln p of a sure token below 0 by a little.
_BELOW_ZERO = -0.01


def run(
    config, workdir: str | pathlib.Path = "runs/default", shared: Shared | None = None
) -> Results:
    """Scores every corpus of `config` and writes `workdir/results.json`.

    Args:
      config: as `jaxbpc.config.default()` makes it.
      workdir: holds the record; where it has one of the same settings, the run goes on from it.
        In a bucket (gs://…, s3://…): see `bucket`.
      shared: what this run takes over from those before it, and leaves to those after it.

    Raises:
      InputError: what the user can fix.
      NumberError: a number that would be wrong.
      Stopped: a signal ended it; the same call goes on.
    """
    started = time.monotonic()
    folder = pathlib.Path(workdir)
    with distributed.none_waits(), contextlib.ExitStack() as stack:
        with distributed.together("reading the config, model and corpora"):
            settings = config_lib.validate(config)
            if distributed.is_writer():
                folder = stack.enter_context(bucket.worked_in(workdir))
                stack.enter_context(attempts.locked(folder))
                attempts.refuse_other(folder, "series.json", "a series of checkpoints")
            job = open_job(settings)
            compressors = stack.enter_context(_compressors(job))
            tracker = stack.enter_context(tracked(settings, folder, shared))
        check_same(job)
        done = _weights_of_done(folder, job) if distributed.is_writer() else None
        done = distributed.json_from_writer(done)
        with distributed.together("loading the model"):
            loaded = not_loaded(job, done) if done else load_job(job, shared)
            if locate.files_state(str(job.checkpoint.folder)) != job.files:
                raise InputError(
                    f"{settings.model_path}: its files changed while they were loaded: start the "
                    "same command again once they are written"
                )
        what = identity(job, loaded.weights_fingerprint)
        distributed.check_same(what)
        records: dict[str, Record] = {}
        with distributed.together("opening the record"):
            if distributed.is_writer():
                records = _open_records(folder, job, what)
            attempt = _begin_attempt(folder, job, records)
        scoring = time.monotonic()
        with _sealed(records, attempt):
            n_scored = _score_all(job, loaded, records, attempt, tracker)
        ended = time.monotonic()
        results = None
        with distributed.together("reducing the record"):
            if distributed.is_writer():
                speed = _speed(job, loaded, attempt, n_scored, ended - scoring, ended - started)
                results = _results(config, job, loaded, what, records, attempt, speed)
                results = _with_baselines(results, compressors, folder / "results.json")
                tracker.results(results)
        return Results.from_json(distributed.json_from_writer(results and results.to_json()))


def _compressors(job: Job) -> compressors.Background:
    """Makes the corpora's baselines on the first process, unless they are not wanted."""
    settings = job.settings
    wanted = {}
    if settings.baselines and distributed.is_writer():
        for name, stream in job.streams.items():
            path = corpora.find(settings.data_dir, name)
            about = (stream.corpus_sha256, settings.data_samples, settings.data_template)
            wanted[name] = compressors.Corpus(path, *about)
    return compressors.Background(wanted, paths.cache_folder())


def _with_baselines(results: Results, made: compressors.Background, path: pathlib.Path) -> Results:
    """Writes the results at once, and again where baselines are still made.

    With many processes it does not wait: the others would block in a collective for as long.
    """
    results = with_baselines(results, made.found())
    results_lib.write(path, results)
    if made.working():
        if jax.process_count() > 1:
            log.warning(
                "the compressors' bits are not all ready: `python -m jaxbpc.prepare check FILE "
                "--baselines` makes and keeps them for the next run"
            )
            return results
        log.info("the results are written; waiting for the compressors (Ctrl-C: without them)")
        made.wait()
        results = with_baselines(results, made.found())
        results_lib.write(path, results)
    if missing := made.missing():
        log.warning(
            "%s: no compressors' bits: `python -m jaxbpc.prepare check FILE --baselines` says why",
            ", ".join(missing),
        )
    return results


def _open_records(workdir: pathlib.Path, job: Job, identity: dict) -> dict[str, Record]:
    """Each corpus's record, gone on with or new. Raises InputError where settings differ."""
    return {
        name: Record.open_or_create(
            workdir / name, identity | {"corpus_sha256": stream.corpus_sha256}, stream
        )
        for name, stream in job.streams.items()
    }


def _weights_of_done(workdir: pathlib.Path, job: Job) -> str | None:
    """The weights' fingerprint where nothing is left to score of a checkpoint as it still is.

    Loading would give the same and take minutes. None: it must be loaded, also where a record is
    damaged: opening it for this run repairs it or reports it.
    """
    weights = set()
    try:
        if job.files is None or attempts.last_files(workdir) != job.files:
            return None
        for name, stream in job.streams.items():
            record = Record.open(workdir / name)
            have = record.meta["settings"]
            want = identity(job, have["weights"]) | {"corpus_sha256": stream.corpus_sha256}
            same_tokens = record.meta["n_tokens"] == len(stream.token_ids)
            if have != want or not same_tokens or record.undone(job.plans[name]):
                return None
            weights.add(have["weights"])
    except InputError:
        return None
    return weights.pop() if len(weights) == 1 else None


def _begin_attempt(workdir: pathlib.Path, job: Job, records: dict[str, Record]) -> attempts.Attempt:
    """Logs that this attempt has begun, and what the one before it scored until it was killed."""
    plans = job.plans
    done = sum(plans[n].n_all_windows - len(r.undone(plans[n])) for n, r in records.items())
    about = {
        "devices": job.layout.mesh.size,
        "mesh": dict(job.layout.mesh.shape),
        "batch_per_device": job.layout.batch_per_device,
        "files": job.files,
        "commit": locate.commit_of(job.checkpoint.folder),
    }
    return attempts.Attempt(workdir if distributed.is_writer() else None, about, done)


@contextlib.contextmanager
def _sealed(records: dict[str, Record], attempt: attempts.Attempt) -> Iterator[None]:
    """Seals what the body wrote, also where a signal ended it; a fault leaves it as it is."""

    def seal() -> None:
        for record in records.values():
            record.seal()
        attempt.save()

    try:
        yield
    except Stopped:
        seal()
        raise
    seal()


def _score_all(
    job: Job,
    loaded: Loaded,
    records: dict[str, Record],
    attempt: attempts.Attempt,
    tracker: Tracker,
) -> int:
    """Scores what the records lack; returns the number of tokens. Raises Stopped by a signal."""
    todo = {}
    for name, plan in job.plans.items():
        mask = np.zeros(plan.n_all_windows, bool)
        if name in records:
            mask[records[name].undone(plan)] = True
        todo[name] = np.flatnonzero(distributed.from_writer(mask))
    n_all = sum(plan.n_all_windows for plan in job.plans.values())
    n_done = n_all - sum(map(len, todo.values()))
    n_tokens = 0
    step_numbers = itertools.count()
    with (
        preemption.stop_requested() as stop,
        Bar("scoring", "window", n_all, n_done, show=distributed.is_writer()) as bar,
    ):

        def keep(name: str, index: int, values: np.ndarray) -> None:
            nonlocal n_tokens
            n_tokens += _keep_window(job, name, records.get(name), index, values)
            attempt.scored()
            tracker.scored()
            bar.update()

        for name, indices in todo.items():
            bar.describe(name)
            with contextlib.ExitStack() as stack:
                if name in records:
                    stack.callback(records[name].flush)
                # Closed before the flush, however it ends: that keeps the steps in flight.
                steps = stack.enter_context(
                    contextlib.closing(_score(job, loaded, name, indices.tolist(), keep))
                )
                for _ in steps:
                    if stop.is_set() or preemption.must_stop(next(step_numbers)):
                        raise Stopped("a signal ended the run")
    return n_tokens


def _score(
    job: Job,
    loaded: Loaded,
    name: str,
    todo: list[int],
    keep: Callable[[str, int, np.ndarray], None],
) -> Generator[None, None, None]:
    """One corpus; yields after each step. The next is dispatched before the one in flight is kept.

    A consumer that ends early still has the steps in flight kept.
    """
    plan, mesh, batch_size = job.plans[name], job.layout.mesh, job.layout.batch_size
    sharded = sharding.named(("batch", None), (batch_size, plan.block_size), mesh)
    prepared = batches.batches(job.streams[name].token_ids, plan, todo, batch_size, sharded)
    at_once = job.layout.steps_at_once
    in_flight: list[tuple[batches.Batch, Callable[[], np.ndarray]]] = []

    def fetch() -> None:
        batch, values_of = in_flight.pop(0)
        for index, values in zip(batch.indices, values_of(), strict=True):
            if index >= 0:
                keep(name, int(index), values)

    with (
        contextlib.closing(prepared),
        out_of_memory(job.layout),
        step_lib.dispatcher(at_once) as dispatch,
    ):
        for batch in prepared:
            step = loaded.steps[batch.rows]
            values_of = dispatch(step, loaded.model, batch.inputs_BT, batch.targets_BT)
            in_flight.append((batch, values_of))
            if len(in_flight) > at_once:
                fetch()
            try:
                yield
            except GeneratorExit:
                while in_flight:
                    fetch()
                raise
        while in_flight:
            fetch()


def _keep_window(job: Job, name: str, record: Record | None, index: int, values: np.ndarray) -> int:
    """Records one window: of the values at its last positions, those that it scores."""
    plan, stream = job.plans[name], job.streams[name]
    window = plan.window(index)
    values = values[: len(values) - (plan.block_size - window.n_inputs)][-window.n_scored :]
    right = np.isfinite(values) & (values > _BELOW_ZERO)
    if not right.all():
        token = window.first_scored + int(np.flatnonzero(~right)[0])
        what = "below 0" if np.isfinite(values).all() else "not finite"
        document = int(np.searchsorted(stream.documents[:, 0], token, side="right")) - 1
        raise distributed.AgreedNumberError(
            f"{name}: the loss is {what} in window {index}, token {token}, row "
            f"{stream.documents[document, 3]} (from 0): the weights or their dtype are at fault, "
            "try --config.model.dtype=float32"
        )
    if record:
        record.write(window.first_scored, values)
    return window.n_scored


def _speed(job: Job, loaded: Loaded, attempt, n_tokens: int, score_s: float, wall_s: float) -> dict:
    """Seconds of this attempt's parts, and rates of its scoring; None where nothing was scored."""
    n = attempt.n_scored
    return {
        "wall_s": round(wall_s, 3),
        "load_s": round(loaded.load_s, 3),
        "compile_s": round(loaded.compile_s, 3),
        "tokenize_s": round(job.tokenize_s, 3),
        "scored_tokens_per_s": round(n_tokens / score_s, 3) if n else None,
        "windows_per_s": round(n / score_s, 5) if n else None,
    }


def _results(config, job: Job, loaded: Loaded, what, records, attempt, speed) -> Results:
    """Everything derived from the records. Raises NumberError where they are not the plan's."""
    entries = {name: _corpus(job, name, records[name]) for name in job.streams}
    arch = job.checkpoint.arch
    return Results(
        model={
            "path": job.settings.model_path,
            "architecture": job.checkpoint.architecture,
            "parameters": n_parameters(loaded.model),
            "dtype": str(job.layout.dtype),
            "vocab_size": arch.vocab_size,
            "weights_fingerprint": loaded.weights_fingerprint,
            "tokenizer_fingerprint": job.tokenizer_fingerprint,
        },
        window={
            "block_size": job.settings.window_block_size,
            "stride": job.settings.window_stride,
        },
        corpora=entries,
        average_bpc=metrics.average_bpc(entry.bpc for entry in entries.values()),
        runs=attempt.all_attempts(),
        speed=speed,
        config=json.loads(config.to_json_best_effort()),
        environment=_environment(),
        fingerprint=fingerprint(what),
        weighted_bpc=metrics.weighted_bpc(entries.values()),
        training=job.training,
    )


def _corpus(job: Job, name: str, record: Record) -> CorpusResult:
    stream, plan, nll = job.streams[name], job.plans[name], record.read("nll")
    subsets = metrics.by_subset(nll, plan, stream.documents, stream.subsets)
    vocab_size = job.checkpoint.arch.vocab_size
    result = metrics.corpus_result(
        nll, plan, stream.counts, stream.bos, vocab_size, stream.audit, subsets
    )
    if result.note:
        log.warning("%s: %s", name, result.note)
    return contamination.added(bootstrap.added(result, bootstrap.read(record)), record)


def _environment() -> dict[str, Any]:
    """Versions and devices: what else a number may be traced back to."""
    packages = ("jax", "jaxlib", "flax", "transformers", "tokenizers")
    return {
        "jaxbpc": jaxbpc.__version__,
        **{name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [f"{jax.device_count()} x {jax.devices()[0].device_kind}"],
        "processes": jax.process_count(),
    }
