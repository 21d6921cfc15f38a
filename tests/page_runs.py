"""Runs over texts that are there: two models whose tokens are cut otherwise, nats by seed."""

import datetime
import json

import numpy as np
import run_folders

HOSTILE = (
    '</script><script>alert(1)</script><img src="https://example.com/x.png" onerror=alert(2)>'
    "<!-- & &amp; \0 \x1b[31m \x07 \u202egnirts\u202c \u2066isolated\u2069 \ufeff \u2028 \r\n\t'\"`"
    " {{ 7 * 7 }} {% raw %} \U0001f469\u200d\U0001f52c \u05e9\u05dc\u05d5\u05dd e\u0301 \U00020000 "
)
WORDS = "The lamp was trimmed at four bells and nothing moved upon the water until the morning. "


def texts(n=6, seed=0):
    """Documents of some hundred characters; one hostile, one of a very long line, one tiny."""
    random = np.random.default_rng(seed)
    found = [(WORDS * 9)[: int(random.integers(250, 700))] for _ in range(n)]
    return [*found, HOSTILE * 3, "x" * 1500 + "\n" + WORDS * 3, "tiny"]


def write_corpus(folder, name, documents):
    """`folder/name.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"content": text}) + "\n" for text in documents))
    return path


def write_run(folder, data, documents, name, size, seed=0, ease=1.0):
    """A run over {corpus: texts} in `data`: tokens of `size` characters, a BOS before each text."""
    random = np.random.default_rng([seed, size])
    corpora, ends, files = {}, {}, {}
    for corpus, written in documents.items():
        nats, at, start = [], [], 0
        for text in written:
            own = [0, *range(size, len(text), size), len(text)]
            nats.append(ease * random.gamma(0.7, 0.9 * size, len(own)))
            at.append(start + np.array(own))
            start += len(text)
        corpora[corpus] = (nats, np.array([len(text) for text in written]))
        ends[corpus] = np.concatenate(at)
        files[corpus] = data / f"{corpus}.jsonl"
    return run_folders.write_scored_run(
        folder, corpora, ends=ends, files=files, path=name, data={"dir": str(data)}
    )


def two_runs(folder):
    """Two runs over two corpora; their folders, as words."""
    data = folder / "data"
    documents = {"prose": texts(), "python": texts(4, seed=1)}
    for name, written in documents.items():
        write_corpus(data, name, written)
    hostile = "me/<b onmouseover=alert(3)>$one$\u202e"
    one = write_run(folder / "one", data, documents, hostile, 3)
    two = write_run(folder / "two", data, documents, "me/two", 5, ease=1.2)
    return [str(one), str(two)]


def amend(folder, **fields):
    """Puts fields into a run's results.json: of the run, or `corpora` = {name: fields}."""
    path = folder / "results.json"
    content = json.loads(path.read_text())
    for name, own in fields.pop("corpora", {}).items():
        content["corpora"][name] |= own
    path.write_text(json.dumps(content | fields))


def whole_run(folder):
    """The first of `two_runs` with all that results may have, the second without; their folders."""
    folders = two_runs(folder)
    subsets = {
        f"part {i} <b>": {"documents": i, "characters": 1000 - i, "bytes": 1000, "tokens": 300}
        | {"nats": 500.0, "nats_full": 510.0, "bpc": 0.69, "bpc_full": 0.7 + i / 100}
        for i in range(14)
    }
    prose = {"baselines": {"gzip": 3.5352, "xz": 3.4398, "zstd": 3.3905}, "subsets": subsets}
    prose["min_k"] = {"k_percent": 20, "mean_log_prob": -6.125, "documents": 8}
    trained = {"step": 143000, "tokens": 299_892_736_000, "flops": 2.1e21}
    amend(folder / "one", weighted_bpc=0.98765, training=trained, corpora={"prose": prose})
    return folders


def series(folder, steps, tokens_per_step=2**21, states=(), **fields):
    """A series' folder, a run a step over two corpora, the later the easier; its states told."""
    data = folder.parent / "data"
    documents = {"prose": texts(), "python": texts(4, seed=1)}
    for name, written in documents.items():
        write_corpus(data, name, written)
    for step in steps:
        path = folder / f"step{step}"
        ease = 0.5 + 2 / (1 + step) ** 0.15
        write_run(path, data, documents, "me/series", 4, ease=ease, **fields)
        amend(path, training={"step": step, "tokens": step * tokens_per_step, "flops": None})
    told = [{"name": f"step{step}", "state": "done", "error": None} for step in steps]
    told += [{"name": n, "state": s, "error": e} for n, s, e in states]
    (folder / "series.json").write_text(json.dumps({"checkpoints": told}))
    return str(folder)


def dated(folder, name, seed, jump=1.0):
    """A run's folder over dated documents of 2023 and 2024, from April 2024 on `jump` harder."""
    random = np.random.default_rng(9)  # the same texts for all
    days = [datetime.date(2023 + i % 2, 1 + i % 12, 1 + i % 28).toordinal() for i in range(96)]
    nats = []
    for day in days:
        own = np.random.default_rng([seed, day]).gamma(2, 1, 60) * random.uniform(0.7, 1.3)
        nats.append(own * (jump if day > datetime.date(2024, 3, 31).toordinal() else 1.0))
    corpora = {"news": (nats, np.full(len(days), 240))}
    return str(run_folders.write_scored_run(folder, corpora, dates=days, path=name))
