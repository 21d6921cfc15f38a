"""The paper's three corpora, from the hub.

  python -m jaxbpc.prepare paper [--out data/llm-compression] [--source DATASET] [--revision R]

From the hub's dataset hkust-nlp/llm-compression (CC BY-NC-SA 4.0: not for commercial use) to
<corpus>.jsonl, with a manifest that has the revision, counts and hash. A corpus that is there
already is kept, and so are the files of a stopped download that came whole. HF_ENDPOINT,
HF_HUB_OFFLINE and HF_HOME are respected.
--source     another hub id or local folder of the same layout
--revision   of the dataset: a branch, tag or commit
"""

import itertools
import os
import pathlib
import re
import sys
from typing import Any

from absl import flags

from jaxbpc import published
from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.prepare import writer

LICENCE = "CC BY-NC-SA 4.0"
# The paper's sizes are rounded to a million characters.
_TOLERANCE = 1_000_000

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "data/llm-compression", "folder", flag_values=FLAGS)
_SOURCE = flags.DEFINE_string(
    "source", corpora.PAPER_DATASET, "hub id or folder", flag_values=FLAGS
)
_REVISION = flags.DEFINE_string("revision", None, "of the dataset", flag_values=FLAGS)


def main(arguments: list[str]) -> None:
    """No arguments but flags."""
    if arguments:
        raise InputError(f"{arguments[0]!r}: `prepare paper` takes flags alone; see --help")
    paper(pathlib.Path(_OUT.value).expanduser(), _SOURCE.value, _REVISION.value)


def paper(
    out: pathlib.Path, dataset: str = corpora.PAPER_DATASET, revision: str | None = None
) -> None:
    """Brings the three corpora to `out`.

    Args:
      dataset: a hub id, or a folder of the same layout.
      revision: of the hub id.

    Raises:
      InputError: one cannot be had, or is not the paper's by its size (of another dataset than the
        paper's that is a warning).
    """
    todo = []
    for name in corpora.PAPER_CORPORA:
        there = [p for ext in corpora.EXTENSIONS if (p := out / f"{name}{ext}").exists()]
        if there:
            print(f"{there[0]}: is there already", file=sys.stderr)
        else:
            todo.append(name)
    if not todo:
        return
    if dataset == corpora.PAPER_DATASET:
        print(f"{dataset}: {LICENCE}, not for commercial use", file=sys.stderr)
    again = f"`python -m jaxbpc.prepare paper --out {out}`"
    folder = _folder(dataset, revision, again)
    for name in todo:
        _write(out, name, dataset, folder, again)


def _folder(dataset: str, revision: str | None, again: str) -> pathlib.Path:
    """The local folder of a dataset, downloaded as far as the hub's cache does not have it."""
    if os.path.isdir(os.path.expanduser(dataset)):
        return pathlib.Path(dataset).expanduser()
    import huggingface_hub

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(dataset, repo_type="dataset", revision=revision)
        )
    except Exception as e:  # the hub client raises errors of many libraries
        reason = " ".join(str(e).split())[:160]
        raise InputError(
            f"{dataset}: cannot be downloaded ({type(e).__name__}: {reason}): check the network "
            f"and start {again} again, what has come is kept; or give another --source"
        )


def _write(out: pathlib.Path, name: str, dataset: str, folder: pathlib.Path, again: str) -> None:
    """One corpus, its rows as they are."""
    import datasets

    config = corpora.PAPER_CORPORA[name]
    with writer.Writer(out, name) as corpus:
        try:
            rows = datasets.load_dataset(str(folder), config, split="test", streaming=True)
            split = (rows.info.splits or {}).get("test")
            rows = iter(rows)
            first: dict[str, Any] = next(rows, {})
            if "content" not in first:
                raise ValueError(f"no column `content` but {', '.join(first) or 'nothing'}")
            for row in itertools.chain([first], rows):
                corpus.add(row)
        except InputError:
            raise
        except Exception as e:  # as above
            reason = " ".join(str(e).split())[:160]
            raise InputError(
                f"{dataset} ({config}): cannot be read ({type(e).__name__}: {reason}): remove "
                f"{folder} and start {again} again, or give another --source"
            )
        expected = split.num_examples if split is not None and split.num_examples else None
        _check(corpus, dataset, expected)
        is_commit = re.fullmatch("[0-9a-f]{40}", folder.name)
        about = {
            "dataset": dataset,
            "config": config,
            "revision": folder.name if is_commit else None,
            "licence": LICENCE if dataset == corpora.PAPER_DATASET else None,
        }
        corpus.finish(about, ["datasets"])
    print(
        f"{corpus.path}: {corpus.documents:,} rows, {corpus.characters:,} characters",
        file=sys.stderr,
    )


def _check(corpus: writer.Writer, dataset: str, rows: int | None) -> None:
    """Rows against the dataset's card, characters against the paper. Raises InputError."""
    millions = published.MEGACHARACTERS[corpus.path.stem]
    faults = []
    if rows is not None and corpus.documents != rows:
        faults.append(f"{corpus.documents:,} rows, its card says {rows:,}")
    if abs(corpus.characters - millions * 1_000_000) > _TOLERANCE:
        faults.append(f"{corpus.characters:,} characters, the paper has {millions} million")
    if not faults:
        return
    message = f"{dataset}, {corpus.path.stem}: {' and '.join(faults)}"
    if dataset == corpora.PAPER_DATASET:
        raise InputError(
            f"{message}: it is not the paper's corpus; give the --revision that is, or its copy in "
            "a folder as --source, which is taken with a warning"
        )
    print(f"warning: {message}", file=sys.stderr)
