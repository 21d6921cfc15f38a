"""Tables of runs: BPC with intervals, ranked, and which differences are more than chance.

  python -m jaxbpc.report RUN … [--markdown FILE] [--csv FILE] [--lm_eval DIR] [--hf DIR] [--seed N]

RUN: a run's folder. The tables go to stdout. Runs over the same corpora are compared document by
document, whatever their tokenizers.
--markdown  the same tables in Markdown
--csv       OpenCompass's table: metric, version, model, the corpora, average
--lm_eval   each run's results as lm-evaluation-harness writes them, DIR/MODEL/results_DATE.json
--hf        each run for the hub: DIR/MODEL/model-index.yaml, for a model card's front matter, and
            DIR/MODEL/.eval_results/llm-compression.yaml, where it is of the paper's corpora
--seed      of the draws of documents (default 0)
"""

import pathlib

from absl import flags

from jaxbpc import cli, compare, formats, runs, tables
from jaxbpc.errors import InputError
from jaxbpc.record import write_json

_MARKDOWN = flags.DEFINE_string("markdown", None, "Markdown file")
_CSV = flags.DEFINE_string("csv", None, "CSV file")
_LM_EVAL = flags.DEFINE_string("lm_eval", None, "folder of lm-evaluation-harness's files")
_HF = flags.DEFINE_string("hf", None, "folder of YAML for the hub")
_SEED = flags.DEFINE_integer("seed", 0, "of the draws of documents", lower_bound=0)


def main(arguments: list[str]) -> None:
    """`RUN …`."""
    if not arguments:
        raise InputError("give one run's folder or more; see --help")
    found = compare.gather(runs.read(arguments), _SEED.value)
    made = tables.tables(found)
    print(tables.text(made))
    if _MARKDOWN.value:
        _write(pathlib.Path(_MARKDOWN.value), tables.markdown(made))
    if _CSV.value:
        _write(pathlib.Path(_CSV.value), formats.pivot_csv(found))
    if _LM_EVAL.value:
        write_lm_eval(found, pathlib.Path(_LM_EVAL.value))
    if _HF.value:
        write_hf(found, pathlib.Path(_HF.value))


def write_lm_eval(found: compare.Comparison, folder: pathlib.Path) -> None:
    """`folder/MODEL/results_DATE.json` of each run. Raises InputError where it cannot."""
    for ranked in found.ranking:
        content = formats.lm_eval(ranked)
        name = f"results_{formats.stamp(ranked.run)}.json"
        path = folder / formats.sanitized(ranked.run.name) / name
        _make_folder(path.parent)
        write_json(path, content)


def write_hf(found: compare.Comparison, folder: pathlib.Path) -> None:
    """Two YAML files of each run, in `folder/MODEL`. Raises InputError where it cannot."""
    for ranked in found.ranking:
        own = folder / formats.sanitized(ranked.run.name)
        _write(own / "model-index.yaml", formats.model_index(ranked))
        if text := formats.eval_results(ranked):
            _write(own / ".eval_results" / "llm-compression.yaml", text)


def _write(path: pathlib.Path, text: str) -> None:
    _make_folder(path.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror}): give another name")


def _make_folder(path: pathlib.Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{path}: cannot be made ({e.strerror}): give another folder")


if __name__ == "__main__":
    cli.run(main, __doc__, positional=True)
