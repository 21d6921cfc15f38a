"""A run against the published BPC of its model.

  python -m jaxbpc.verify RUN [--model NAME]

RUN: a run's folder. Its model is known by its hub id, its folder's name, or its architecture and
number of parameters, where these are of one published model alone; else --model names it, as in the
tables of the paper's repository or OpenCompass, or by its hub id.

Ends with status 0 where every corpus is within 0.002 of one published table, the precision of
settings that differ in dtype and libraries alone. Else it says by how much it differs and why that
may be, and ends with 3; with 2 where the run's own settings explain it, or nothing can be compared:
change them and run again.
"""

import dataclasses
import difflib
import sys

from absl import flags

from jaxbpc import cli, published
from jaxbpc.analysis import runs
from jaxbpc.errors import InputError
from jaxbpc.published.names import model_name, published_name, same_name

TOLERANCE = 0.002
EXIT_DIFFERS = 3
# A vocabulary padded for a mesh makes a count differ by less.
_SAME_SIZE = 1e-4

_MODEL = flags.DEFINE_string("model", None, "the published model's name")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison found. `differences` are ours less theirs, by source and corpus."""

    model: published.Model
    how: str  # the model was recognised
    ours: dict[str, float]
    tables: list[published.Bpc]
    differences: dict[str, dict[str, float]]
    agrees: bool
    settings: list[str]  # how the run's settings differ from the published ones
    reasons: list[str]  # what else may explain a difference


def main(arguments: list[str]) -> None:
    """`RUN`."""
    if len(arguments) != 1:
        raise InputError("give one run's folder; see --help")
    (run,) = runs.read(arguments)
    verdict = verify(run, _MODEL.value)
    cli.show(text(verdict), "nothing is lost, start the command again")
    if verdict.agrees:
        return
    if verdict.settings:
        raise InputError(
            f"{run.folder}: its settings are not those of the published numbers "
            f"({'; '.join(verdict.settings)}): run with those to compare"
        )
    sys.exit(EXIT_DIFFERS)


def verify(run: runs.Run, model: str | None = None) -> Verdict:
    """Compares a run with every published table that has its model.

    Raises:
      InputError: no such model, several that it may be, or no corpus to compare.
    """
    ours = {name: bpc for name, bpc in run.bpc().items() if name in published.CORPORA}
    if not ours:
        raise InputError(
            f"{run.folder}: it has no BPC on {', '.join(published.CORPORA)}, which the published "
            "numbers are of: run on the paper's corpora, `python -m jaxbpc.prepare paper` brings "
            "them"
        )
    found, how = recognise(run, model)
    tables = [row for row in published.leaderboard() if row.model == found.name]
    differences = {t.source: {c: bpc - t.bpc[c] for c, bpc in ours.items()} for t in tables}
    agrees = any(
        all(abs(d) <= TOLERANCE + 1e-9 for d in table.values()) for table in differences.values()
    )
    settings = runs.unlike_published(run, list(ours))
    reasons = _reasons(run, how, tables, list(ours))
    return Verdict(found, how, ours, tables, differences, agrees, settings, reasons)


def recognise(run: runs.Run, name: str | None = None) -> tuple[published.Model, str]:
    """(the published model of a run, how it was recognised).

    Raises:
      InputError: no model or several match; the message names the nearest.
    """
    if name is not None:
        if model := _by_name(name):
            return model, "as --model says"
        raise _ask(f"--model {name!r} is no published model", name, [])
    path = run.results.model["path"]
    for model in published.models():
        if any(same_name(path, alias) for alias in model.names):
            return model, "by its hub id"
    short = model_name(path)
    if model := _by_name(short):
        return model, "by its name"
    alike = [model for model in published.models() if _same_size(model, run)]
    if len(alike) == 1:
        return alike[0], "by its architecture and size alone"
    what = f"{run.folder}: {short!r} is the name of no published model; if it is one"
    raise _ask(what, short, alike)


def _by_name(name: str) -> published.Model | None:
    known_as = published_name(name)
    return next((model for model in published.models() if model.name == known_as), None)


def _same_size(model: published.Model, run: runs.Run) -> bool:
    about = run.results.model
    return (
        about["architecture"] == model.architecture
        and abs(about["parameters"] - model.parameters) <= _SAME_SIZE * model.parameters
    )


def _ask(what: str, name: str, alike: list[published.Model]) -> InputError:
    """The error that asks for a name, with what comes near by size, else by spelling."""
    names = [model.name for model in published.models()]
    near = [model.name for model in alike]
    if not near:
        spelt = {n.lower(): n for n in names}
        near = [spelt[n] for n in difflib.get_close_matches(name.lower(), spelt, 4, 0.5)]
    known = ", ".join(near) or ", ".join(names)
    by = "by architecture and size" if alike else "near" if near else "known"
    return InputError(f"{what}: give --model NAME ({by}: {known})")


def _reasons(run: runs.Run, how: str, tables: list[published.Bpc], corpora: list[str]) -> list[str]:
    """What the settings cannot rule out, the likeliest first."""
    about, config = run.results.model, run.results.config.get("model", {})
    found = []
    if "size" in how:
        found.append(
            f"the model was recognised {how}: another training of it, as for chat, has another BPC"
        )
    tokenizer = config.get("tokenizer")
    if tokenizer and tokenizer != about["path"]:
        found.append(f"the tokenizer is {tokenizer}, not the model's own")
    apart = max(
        (abs(a.bpc[c] - b.bpc[c]) for a in tables for b in tables for c in corpora), default=0.0
    )
    if apart > 0.0006:  # more than rounding to 3 decimals
        found.append(
            f"the published tables themselves are {apart:.4f} apart: tokenizers of different "
            "classes and versions cut the text differently"
        )
    versions = [
        f"{name} {run.results.environment[name]}"
        for name in ("tokenizers", "transformers")
        if name in run.results.environment
    ]
    found.append(
        f"the tokenizer's version: this run had {' and '.join(versions) or 'an unknown one'}, its "
        f"files have the fingerprint {about['tokenizer_fingerprint'][:12]}"
    )
    if config.get("revision"):
        found.append(f"the model's revision is {config['revision']}")
    found.append(
        f"the dtype: this run's is {about['dtype']}; half precision moves a BPC by up to 0.0003"
    )
    found += [
        f"the corpus {name}: {run.results.corpora[name].characters:,} characters in "
        f"{run.results.corpora[name].documents:,} documents, SHA-256 "
        f"{run.results.corpora[name].corpus_sha256[:12]}; no hash was published, "
        "`python -m jaxbpc.prepare paper` brings the paper's"
        for name in corpora
    ]
    return found


def text(verdict: Verdict) -> str:
    """The comparison as a table for a terminal, and what it means."""
    lines = [f"{verdict.model.name}, recognised {verdict.how}"]
    for table in verdict.tables:
        head = f"{'corpus':<14}{'this run':>10}{'published':>11}{'difference':>12}   {table.source}"
        lines += ["", head, "-" * len(head)]
        for corpus, difference in verdict.differences[table.source].items():
            far = "" if abs(difference) <= TOLERANCE + 1e-9 else "   differs"
            lines.append(
                f"{corpus:<14}{verdict.ours[corpus]:>10.4f}{table.bpc[corpus]:>11.4f}"
                f"{difference:>+12.4f}{far}"
            )
    if verdict.agrees:
        lines += ["", f"agrees within {TOLERANCE}"]
        lines += [f"although {line}" for line in verdict.settings]
        return "\n".join(lines)
    most = min(max(map(abs, table.values())) for table in verdict.differences.values())
    lines += ["", f"differs by up to {most:.4f}; known reasons:"]
    return "\n".join(lines + [f"- {line}" for line in verdict.settings + verdict.reasons])


if __name__ == "__main__":
    cli.run(main, __doc__, positional=True)
