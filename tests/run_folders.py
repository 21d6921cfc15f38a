"""Finished runs' folders without a model: results that are given, or derived from given nats."""

import hashlib
import math
import types

import numpy as np

from jaxbpc import config as config_lib
from jaxbpc.analysis import bootstrap
from jaxbpc.data.windows import Plan
from jaxbpc.run import results
from jaxbpc.run.record import Record
from jaxbpc.utils.files import write_json

CHARACTERS = {"commoncraw": 131_100_000, "python": 98_200_000, "arxiv_math": 100_900_000}


def write_results(folder, corpora, path="meta-llama/Llama-2-7b-hf", model=None, data=None):
    """`results.json` of corpora, {name: CorpusResult}; config and model as they would be."""
    values = [r.bpc for r in corpora.values()]
    config = config_lib.default()
    config.model.path = path
    config.data.update(data or {})
    about = {"path": path, "architecture": "LlamaForCausalLM", "parameters": 6_738_415_616}
    about |= {"dtype": "bfloat16", "vocab_size": 32000, "weights_fingerprint": "ab"}
    about |= {"tokenizer_fingerprint": "cd", **(model or {})}
    found = results.Results(
        model=about,
        window={"block_size": 1900, "stride": 512},
        corpora=corpora,
        average_bpc=None if None in values else sum(values) / len(values),
        runs=[{"started": "2026-11-25T04:00:00+00:00", "windows_scored": 3}],
        speed={"wall_s": 12.5},
        config=config.to_dict(),
        environment={"jaxbpc": "0.1.0", "transformers": "5.20.0", "tokenizers": "0.22.1"},
        fingerprint="ef",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", found.to_json())
    return folder


def given(bpc, characters=1000, **fields):
    """A corpus's result with a given BPC."""
    values = {
        "bpc": bpc,
        "bpc_full": bpc,
        "bpb": bpc,
        "bpb_full": bpc,
        "nats": 1.0,
        "nats_full": 1.0,
        "characters": characters,
        "bytes": characters,
        "documents": 9,
        "empty_documents": 0,
        "tokens": 3000,
        "windows": 3,
        "scored_tokens": 2924,
        "unscored_tokens": 76,
        "bos_tokens": 9,
        "bos_nats": 4.5,
        "corpus_sha256": "1f",
    }
    return results.CorpusResult(**(values | fields))


def write_paper_run(folder, bpc, **fields):
    """A run over the paper's corpora with given BPCs, {name: BPC}."""
    corpora = {name: given(value, CHARACTERS[name]) for name, value in bpc.items()}
    return write_results(folder, corpora, **fields)


def write_scored_run(
    folder, corpora, plan=(100, 40), rows=None, dates=None, ends=None, files=None, **fields
):
    """A run with a record, {name: (nats of each document's tokens, characters of each)}.

    dates: of the documents, as ordinals; -1: none. ends, {name: [N]}: where tokens end in the
    corpus. files, {name: path}: whose hash is told.
    """
    entries = {}
    for name, (nats, characters) in corpora.items():
        first = np.cumsum([0, *map(len, nats[:-1])])
        nll = np.concatenate(nats).astype(np.float32)
        nll[0] = np.nan
        n = len(nats)
        columns = [first, characters, np.add(characters, 1), np.arange(n) if rows is None else rows]
        days = np.full(n, -1) if dates is None else dates
        documents = np.stack([*columns, days, np.full(n, -1)], axis=1)
        n_scored = Plan(len(nll), *plan).n_scored
        content = files[name].read_bytes() if files else name.encode()
        total, sha256 = int(np.sum(characters)), hashlib.sha256(content).hexdigest()
        full, scored = (float(x.astype(np.float64).sum()) for x in (nll[1:], nll[1 : 1 + n_scored]))
        result = given(
            scored / total / math.log(2),
            total,
            bpc_full=full / total / math.log(2),
            nats=scored,
            nats_full=full,
            documents=n,
            tokens=len(nll),
            corpus_sha256=sha256,
        )
        entries[name] = bootstrap.added(result, bootstrap.per_document(nll, documents))
        ids = np.arange(len(nll), dtype=np.uint32)
        at = ids if ends is None else ends[name]
        settings = {"corpus_sha256": sha256}
        stream = types.SimpleNamespace(
            token_ids=ids, token_char_end=at.astype(np.int64), documents=documents, subsets=[]
        )
        record = Record.open_or_create(folder / name, settings, stream)
        record.write(0, nll)
        record.seal()
    return write_results(folder, entries, **fields)
