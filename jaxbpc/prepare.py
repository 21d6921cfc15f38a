"""Brings corpora to a folder.

  python -m jaxbpc.prepare paper [--out data/llm-compression] [--source DATASET]

paper   the paper's three corpora, from the hub's dataset hkust-nlp/llm-compression
        (CC BY-NC-SA), as <corpus>.jsonl; a corpus that is there already is kept.
        --source: another hub id or local folder of the same layout
"""

import json
import os
import pathlib
import sys
import tempfile

from absl import flags

from jaxbpc import cli
from jaxbpc.data import corpora
from jaxbpc.errors import InputError, short

_OUT = flags.DEFINE_string("out", "data/llm-compression", "folder of the corpora")
_SOURCE = flags.DEFINE_string("source", corpora.PAPER_DATASET, "hub id or folder")


def main(arguments: list[str]) -> None:
    """`paper`."""
    if arguments != ["paper"]:
        raise InputError("give: paper; see --help")
    paper(pathlib.Path(_OUT.value), _SOURCE.value)


def paper(out: pathlib.Path, dataset: str = corpora.PAPER_DATASET) -> None:
    """Downloads the three corpora to `out`. Raises InputError where one cannot be had."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, config in corpora.PAPER_CORPORA.items():
            _bring(out, name, dataset, config)
    except OSError as e:
        raise InputError(
            f"{e.filename or out}: cannot be written ({e.strerror}): give another --out"
        )


def _bring(out: pathlib.Path, name: str, dataset: str, config: str) -> None:
    """One corpus to `out`, unless it is there."""
    path = out / f"{name}.jsonl"
    if any((out / f"{name}{ext}").exists() for ext in corpora.EXTENSIONS):
        print(f"{path}: is there already", file=sys.stderr)
        return
    import datasets

    # A cache of its own: the shared one knows a folder by its name alone, and gives the old rows of
    # a folder that was changed, and those of another or of none, without a word.
    with tempfile.TemporaryDirectory(dir=out) as cache:
        try:
            rows = datasets.load_dataset(dataset, config, split="test", cache_dir=cache)
        except Exception as e:  # the hub client raises errors of many libraries
            raise InputError(
                f"{dataset} ({config}): cannot be downloaded ({type(e).__name__}: {short(e)}): "
                f"check the network and start `python -m jaxbpc.prepare paper --out {out}` again, "
                "or give another --source"
            )
        if "content" not in rows.column_names:
            raise InputError(
                f"{dataset} ({config}): has no column `content` but "
                f"{', '.join(rows.column_names)}: give another --source"
            )
        temporary = path.with_suffix(".part")
        with open(temporary, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        os.replace(temporary, path)
        print(f"{path}: {len(rows)} rows", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main, __doc__, positional=True)
