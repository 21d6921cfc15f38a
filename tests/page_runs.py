"""Runs over texts that are there: two models whose tokens are cut otherwise, nats by seed."""

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
