"""A comparison in the formats of others: OpenCompass, lm-evaluation-harness, Hugging Face.

Sources: `LLMCompressionSummarizer` of OpenCompass (its pivot table); `EvalResults` and `make_table`
of lm-evaluation-harness 0.4; `model_index_to_eval_results` and `parse_eval_result_entries` of
huggingface_hub (a model card's `model-index`; a model's `.eval_results/*.yaml`).
"""

import csv
import datetime
import io
import pathlib
import re
from typing import Any

import yaml

from jaxbpc.analysis import bootstrap, compare, runs
from jaxbpc.analysis.compare import Comparison, Ranked
from jaxbpc.data import corpora
from jaxbpc.run.results import CorpusResult
from jaxbpc.utils.files import fingerprint, make_folder, write_json, write_text

TASK = "llm_compression"


def pivot_csv(found: Comparison) -> str:
    """OpenCompass's columns: metric, version, model, the corpora, average; the best run first.

    `version` is of what runs must share to be compared: corpora, samples, template, window.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["metric", "version", "model", *found.corpora, "average"])
    for ranked in found.ranking:
        results = ranked.run.results
        entries = [results.corpora.get(name) for name in found.corpora]
        values = [entry and entry.bpc for entry in entries] + [results.average_bpc]
        cells = ["" if value is None else f"{value:.6f}" for value in values]
        writer.writerow(["bpc", _version(ranked.run), ranked.run.name, *cells])
    return file.getvalue()


def _version(run: runs.Run) -> str:
    data = run.results.config.get("data", {})
    settings = {
        "corpora": {name: r.corpus_sha256 for name, r in run.results.corpora.items()},
        "samples": data.get("samples"),
        "template": data.get("template"),
        "window": run.results.window,
    }
    return fingerprint(settings)[:6]


def lm_eval(ranked: Ranked) -> dict[str, Any]:
    """A run as lm-evaluation-harness's results file has it: a task a corpus, a group over all."""
    results = ranked.run.results
    about, settings = results.model, results.config
    tasks = {f"{TASK}_{name}": name for name in results.corpora}
    values = {task: _metrics(task, ranked, name) for task, name in tasks.items()}
    group = {
        "alias": TASK,
        "name": TASK,
        "sample_len": sum(r.documents for r in results.corpora.values()),
    }
    if results.average_bpc is not None:
        group["bpc,none"] = results.average_bpc
        group["bpc_stderr,none"] = ranked.average.stderr if ranked.average else "N/A"
    metrics = {"bpc": False, "bpc_full": False, "bits_per_byte": False}
    every = [TASK, *tasks]
    return {
        "results": {TASK: group, **values},
        "groups": {TASK: group},
        "group_subtasks": {TASK: list(tasks)},
        "configs": {task: _task_config(task, ranked.run, name) for task, name in tasks.items()},
        "versions": dict.fromkeys(every, _version(ranked.run)),
        "n-shot": dict.fromkeys(every, 0),
        "higher_is_better": dict.fromkeys(every, metrics),
        "n-samples": {
            task: {"original": r.documents + r.empty_documents, "effective": r.documents}
            for task, r in ((task, results.corpora[name]) for task, name in tasks.items())
        },
        "config": {
            "model": "jaxbpc",
            "model_args": {"pretrained": about["path"], "dtype": about["dtype"]},
            "model_num_parameters": about["parameters"],
            "model_dtype": about["dtype"],
            "model_revision": settings.get("model", {}).get("revision") or "main",
            "batch_size": str(settings.get("batch_per_device", "")),
            "limit": settings.get("data", {}).get("samples"),
            "bootstrap_iters": bootstrap.N_DRAWS,
        },
        "date": _started(ranked.run).timestamp(),
        "jaxbpc_version": results.environment.get("jaxbpc"),
        "transformers_version": results.environment.get("transformers"),
        "max_length": results.window["block_size"],
        "model_source": "jaxbpc",
        "model_name": about["path"],
        "model_name_sanitized": sanitized(about["path"]),
        "task_hashes": {task: results.corpora[name].corpus_sha256 for task, name in tasks.items()},
        "total_evaluation_time_seconds": str(results.speed.get("wall_s")),
    }


def _metrics(task: str, ranked: Ranked, name: str) -> dict[str, Any]:
    """A task's numbers, those of characters with the bootstrap's standard error.

    What is drawn are characters and nats: of bits a byte nothing is known.
    """
    result, estimate = ranked.run.results.corpora[name], ranked.corpora.get(name)
    found: dict[str, Any] = {"alias": task, "name": task, "sample_len": result.documents}
    numbers = {"bpc": result.bpc, "bpc_full": result.bpc_full, "bits_per_byte": result.bpb}
    for metric, value in numbers.items():
        if value is not None:
            found[f"{metric},none"] = value
            of_characters = estimate if metric != "bits_per_byte" else None
            share = value / of_characters.value if of_characters and of_characters.value else None
            found[f"{metric}_stderr,none"] = (
                of_characters.stderr * share if of_characters and share else "N/A"
            )
    return found


def _task_config(task: str, run: runs.Run, name: str) -> dict[str, Any]:
    hub = hub_config(run, name)
    dataset = {"dataset_path": corpora.PAPER_DATASET, "dataset_name": hub, "test_split": "test"}
    return {
        "task": task,
        **(dataset if hub else {}),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": run.results.config.get("data", {}).get("template", ""),
        "num_fewshot": 0,
        "metadata": {"version": _version(run), **run.results.window},
    }


def hub_config(run: runs.Run, name: str) -> str | None:
    """The config of the paper's hub dataset that a corpus is, whole; None where it is another."""
    data = run.results.config.get("data", {})
    if data.get("samples") is not None or (data.get("template") or "{content}") != "{content}":
        return None
    return None if runs.unlike_corpus(run, name) else corpora.PAPER_CORPORA.get(name)


def model_index(ranked: Ranked) -> str:
    """A run as the `model-index` of a Hugging Face model card's front matter, in YAML."""
    run = ranked.run
    entries = []
    for name, result in run.results.corpora.items():
        metrics = [
            {"type": kind, "value": round(value, 6), "name": text, "args": dict(run.results.window)}
            for kind, text, value in (
                ("bpc", "bits per character", result.bpc),
                ("bpc_full", "bits per character, tail included", result.bpc_full),
                ("bits_per_byte", "bits per byte", result.bpb),
            )
            if value is not None
        ]
        hub = hub_config(run, name)
        dataset = {"name": name, "type": name}
        if hub:
            dataset = {"name": f"llm-compression ({name})", "type": corpora.PAPER_DATASET}
            dataset |= {"config": hub, "split": "test"}
        if metrics:
            task = {"type": "text-generation", "name": "Text Generation"}
            entries.append({"task": task, "dataset": dataset, "metrics": metrics})
    return _yaml({"model-index": [{"name": run.name, "results": entries}]})


def eval_results(ranked: Ranked) -> str | None:
    """A run as a model's `.eval_results/*.yaml`; None where no corpus is the hub's dataset."""
    run = ranked.run
    entries = []
    for name, result in run.results.corpora.items():
        hub = hub_config(run, name)
        if hub and result.bpc is not None:
            dataset = {"id": corpora.PAPER_DATASET, "task_id": hub}
            entry = {"dataset": dataset, "value": round(result.bpc, 6)}
            entry |= {"date": _started(run).date().isoformat(), "notes": _notes(run, result)}
            entries.append(entry)
    return _yaml(entries) if entries else None


def _notes(run: runs.Run, result: CorpusResult) -> str:
    window = run.results.window
    limits = ""
    if result.bpc_interval:
        limits = ", 95% interval {:.4f} to {:.4f}".format(*result.bpc_interval)
    return (
        f"bits per character, lower is better{limits}; windows of {window['block_size']} tokens, "
        f"stride {window['stride']}, {run.results.model['dtype']}, jaxbpc "
        f"{run.results.environment.get('jaxbpc')}"
    )


def sanitized(name: str) -> str:
    """A model's name as lm-evaluation-harness makes a folder of it."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name)


def stamp(run: runs.Run) -> str:
    """When a run began, as part of a file's name."""
    return _started(run).isoformat().replace(":", "-")


def _started(run: runs.Run) -> datetime.datetime:
    """When the run's last attempt began; the epoch if unknown."""
    times = [attempt.get("started") for attempt in run.results.runs]
    known = [datetime.datetime.fromisoformat(t) for t in times if t]
    return known[-1] if known else datetime.datetime.fromtimestamp(0, datetime.UTC)


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def write_lm_eval(found: compare.Comparison, folder: pathlib.Path) -> None:
    """`folder/MODEL/results_DATE.json` of each run. Raises InputError where it cannot."""
    for ranked in found.ranking:
        content = lm_eval(ranked)
        name = f"results_{stamp(ranked.run)}.json"
        path = folder / sanitized(ranked.run.name) / name
        make_folder(path.parent)
        write_json(path, content)


def write_hf(found: compare.Comparison, folder: pathlib.Path) -> None:
    """Two YAML files of each run, in `folder/MODEL`. Raises InputError where it cannot."""
    for ranked in found.ranking:
        own = folder / sanitized(ranked.run.name)
        write_text(own / "model-index.yaml", model_index(ranked))
        if text := eval_results(ranked):
            write_text(own / ".eval_results" / "llm-compression.yaml", text)
