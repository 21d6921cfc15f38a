"""Tables of runs: BPC with intervals, ranked, and which differences are significant.

  python -m jaxbpc.report RUN … [--html FILE] [--plots DIR] [--markdown FILE] [--csv FILE]
      [--lm_eval DIR] [--hf DIR] [--seed N] [--cutoff DATE [--control RUN]]

RUN: a run's folder. The tables go to stdout. Runs over the same corpora are compared document by
document, whatever their tokenizers. Of a series of checkpoints the folder gives BPC over training,
also while it is scored; its runs are ranked in the files below where no other run is given.
--html      one page with everything inside: tables, plots, BPC over training, texts coloured by
            nats per character; of a long series alone, some checkpoints are compared
--plots     its plots as files, DIR/{bpc,context,documents}.{svg,png} (extra `plots`)
--markdown  the same tables in Markdown
--csv       OpenCompass's table: metric, version, model, the corpora, average
--lm_eval   each run's results as lm-evaluation-harness writes them, DIR/MODEL/results_DATE.json
--hf        each run for the hub: DIR/MODEL/model-index.yaml, for a model card's front matter, and
            DIR/MODEL/.eval_results/llm-compression.yaml, where it is of the paper's corpora
--cutoff    2024-03-31, or 2024-03: BPC before and after, and by month, of corpora whose rows have
            dates: a hint, and no proof, that a model has learned the earlier text; of a series
            that of its last checkpoint
--control   of the runs the one whose model's cutoff is before or after all of the text, to
            subtract the text's own change
--seed      of the draws of documents (default 0)
"""

import pathlib

from absl import flags

from jaxbpc import cli
from jaxbpc.analysis import compare, contamination, runs, training_curve
from jaxbpc.errors import InputError
from jaxbpc.report import formats, tables
from jaxbpc.report.formats import write_hf, write_lm_eval
from jaxbpc.report.html import figure_files, figures, render, training_chart
from jaxbpc.utils import dates
from jaxbpc.utils.files import make_folder, write_text

_HTML = flags.DEFINE_string("html", None, "HTML file")
_PLOTS = flags.DEFINE_string("plots", None, "folder of SVG and PNG files")
_MARKDOWN = flags.DEFINE_string("markdown", None, "Markdown file")
_CSV = flags.DEFINE_string("csv", None, "CSV file")
_LM_EVAL = flags.DEFINE_string("lm_eval", None, "folder of lm-evaluation-harness's files")
_HF = flags.DEFINE_string("hf", None, "folder of YAML for the hub")
_CUTOFF = flags.DEFINE_string("cutoff", None, "the last day that the models may know")
_CONTROL = flags.DEFINE_string("control", None, "a run")
_SEED = flags.DEFINE_integer("seed", 0, "of the draws of documents", lower_bound=0)


def main(arguments: list[str]) -> None:
    """`RUN …`."""
    if not arguments:
        raise InputError("give one run's folder or more; see --help")
    curves, folders = training_curve.split(arguments)
    made = [tables.over_training(each) for each in curves]
    chosen = runs.read(folders)
    members = training_curve.members(curves)
    if chosen:
        found = compare.gather(chosen, _SEED.value)
        made += tables.tables(found)
    elif any(f.value for f in (_HTML, _PLOTS, _CSV, _LM_EVAL, _HF)):
        found = compare.gather(members, _SEED.value)
    around = _around_cutoff(chosen or _last(curves, members))
    made += around
    if _HTML.value:
        trained = None
        if curves:
            own = compare.gather(members, _SEED.value) if chosen else found
            trained = training_chart.gather(curves, own)
        shown = found if chosen else training_chart.few(found, curves)
        write_text(pathlib.Path(_HTML.value), render.html(shown, trained, around))
    if _PLOTS.value:
        folder = pathlib.Path(_PLOTS.value)
        make_folder(folder)
        figure_files.write(figures.gather(found), folder)
    if _MARKDOWN.value:
        write_text(pathlib.Path(_MARKDOWN.value), tables.markdown(made))
    if _CSV.value:
        write_text(pathlib.Path(_CSV.value), formats.pivot_csv(found))
    if _LM_EVAL.value:
        write_lm_eval(found, pathlib.Path(_LM_EVAL.value))
    if _HF.value:
        write_hf(found, pathlib.Path(_HF.value))
    cli.show(tables.text(made), "the files that were asked for are written")


def _last(curves: list[training_curve.Curve], members: list[runs.Run]) -> list[runs.Run]:
    """Of the runs of all series each one's last, and the control."""
    last = {each.runs[-1].folder for each in curves if each.runs}
    control = _CONTROL.value
    return [
        run
        for run in members
        if run.folder in last or (control is not None and run.is_called(control))
    ]


def _around_cutoff(found: list[runs.Run]) -> list[tables.Table]:
    """The tables of --cutoff; none without it."""
    if _CUTOFF.value:
        cutoff = dates.day("--cutoff", _CUTOFF.value, last=True)
        steps = contamination.steps(found, cutoff, _CONTROL.value, _SEED.value)
        return tables.around_cutoff(*steps)
    if _CONTROL.value:
        raise InputError("--control is of --cutoff: give both")
    return []


if __name__ == "__main__":
    cli.run(main, __doc__, positional=True)
