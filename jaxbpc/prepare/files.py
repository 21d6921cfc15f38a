"""One's own text to a corpus, `<out>/<name>.jsonl`, with a manifest of counts beside it.

  python -m jaxbpc.prepare files IN … --name NAME [--out data] [flags]

IN: a file, a folder, a glob in quotes, or hub:DATASET[:CONFIG[:SPLIT]]. Text (.txt .md .rst .tex
.py) and .html are a document each; .jsonl .json .csv .tsv .parquet have one a row; all but parquet
also with .gz .bz2 .xz .zst. What is not UTF-8 and declares no encoding is guessed, once for a file
of rows; the number of such documents is reported. Spaces and line ends stay as they are.

--text_column, --date_column, --title_column, --subset_column   of rows (default: content or text,
            date, title, subset); results have the BPC of each subset
--include, --exclude   patterns of names within a folder, such as '*.py,docs/*'
--min_characters=1, --max_characters=10000000   shorter and longer documents are dropped
--language=en,de   others are dropped
--since, --until   ISO days, both included; documents without a date are dropped
--noexact          keeps exact duplicates
--near=0.8         drops near duplicates, from this Jaccard similarity of 5 words on end, which is
                   estimated: half of those at it are found, 95% and more of those 0.1 above it
--sample=CHARACTERS, --seed=0   a random choice of documents
--workers          processes (default: one a core); the corpus does not depend on it

HTML, languages, near duplicates and encodings other than UTF need the extra `text`.
A stopped command begins anew; a corpus is there only when it is complete.
"""

import contextlib
import dataclasses
import datetime
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from absl import flags

from jaxbpc import cli
from jaxbpc.errors import InputError
from jaxbpc.prepare import dedup, filters, sample, writer
from jaxbpc.prepare.readers import decode, inputs, pieces
from jaxbpc.utils import processes
from jaxbpc.utils.progress import Bar

FLAGS = flags.FlagValues()


def _define(kind, name: str, default, text: str, **limits) -> flags.FlagHolder:
    return kind(name, default, text, flag_values=FLAGS, **limits)


_OUT = _define(flags.DEFINE_string, "out", "data", "folder of the corpus")
_NAME = _define(flags.DEFINE_string, "name", None, "of the corpus")
_TEXT = _define(flags.DEFINE_string, "text_column", None, "column of the text")
_DATE = _define(flags.DEFINE_string, "date_column", None, "column of the date")
_TITLE = _define(flags.DEFINE_string, "title_column", None, "column of the title")
_SUBSET = _define(flags.DEFINE_string, "subset_column", None, "column of the subset")
_INCLUDE = _define(flags.DEFINE_list, "include", [], "patterns of names")
_EXCLUDE = _define(flags.DEFINE_list, "exclude", [], "patterns of names")
_MIN = _define(flags.DEFINE_integer, "min_characters", 1, "shortest document", lower_bound=1)
_MAX = _define(flags.DEFINE_integer, "max_characters", 10**7, "longest document", lower_bound=1)
_LANGUAGE = _define(flags.DEFINE_list, "language", [], "ISO 639-1 codes")
_SINCE = _define(flags.DEFINE_string, "since", None, "first day")
_UNTIL = _define(flags.DEFINE_string, "until", None, "last day")
_EXACT = _define(flags.DEFINE_boolean, "exact", True, "drop exact duplicates")
_NEAR = _define(
    flags.DEFINE_float, "near", None, "Jaccard similarity", lower_bound=0.3, upper_bound=1.0
)
_SAMPLE = _define(flags.DEFINE_integer, "sample", None, "characters", lower_bound=1)
_SEED = _define(flags.DEFINE_integer, "seed", 0, "of the sample")
_WORKERS = _define(flags.DEFINE_integer, "workers", None, "processes", lower_bound=1)


@dataclasses.dataclass(frozen=True)
class Options:
    """What becomes of the documents: each by itself (`documents`), then all of them.

    near: the similarity from which a document is dropped; None: none is. sample: characters.
    """

    documents: filters.Options = dataclasses.field(default_factory=filters.Options)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exact: bool = True
    near: float | None = None
    sample: int | None = None
    seed: int = 0


def main(arguments: list[str]) -> None:
    """Files, folders, globs and hub datasets."""
    if not arguments or not _NAME.value:
        raise InputError("give: IN … --name=NAME; see --help")
    documents = filters.Options(
        text_column=_TEXT.value,
        date_column=_DATE.value,
        title_column=_TITLE.value,
        subset_column=_SUBSET.value,
        min_characters=_MIN.value,
        max_characters=_MAX.value,
        languages=tuple(_LANGUAGE.value),
        since=_day("since", _SINCE.value),
        until=_day("until", _UNTIL.value),
        near=_NEAR.value is not None,
    )
    options = Options(
        documents,
        tuple(_INCLUDE.value),
        tuple(_EXCLUDE.value),
        _EXACT.value,
        _NEAR.value,
        _SAMPLE.value,
        _SEED.value,
    )
    out = pathlib.Path(_OUT.value).expanduser()
    manifest = files(arguments, out, _NAME.value, options, _WORKERS.value)
    path = out / f"{_NAME.value}.jsonl"
    cli.show(summary(manifest), f"the counts are in {writer.manifest_path(path)}")


def _day(flag: str, value: str | None) -> str | None:
    try:
        return None if value is None else datetime.date.fromisoformat(value).isoformat()
    except ValueError:
        raise InputError(f"--{flag}={value}: give a day as 2024-12-31")


def files(
    given: list[str],
    out: pathlib.Path,
    name: str,
    options: Options | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Writes the corpus `<out>/<name>.jsonl` and its manifest; returns that.

    Args:
      given: files, folders, globs and `hub:` datasets, in the corpus's order.
      workers: processes; None: one a core. The corpus does not depend on it.

    Raises:
      InputError: an input or flag at fault, or nothing is left of the text.
    """
    options = options or Options()
    _check_extra(options)
    skipped: Counter[str] = Counter()
    sources = inputs.find(given, options.include, options.exclude, skipped)
    stream = pieces.pieces(sources, options.documents.columns())
    n_workers = workers or processes.cores()
    results = processes.ordered(filters.process, stream, options.documents, n_workers)
    dropped: Counter[str] = Counter()
    guessed: Counter[str] = Counter()
    with writer.Writer(out, name) as corpus, contextlib.closing(results), Bar(name, "ch") as bar:
        seen = _write(_counted(results, guessed), corpus, options, dropped, bar)
        if not corpus.documents:
            raise InputError(
                f"{', '.join(given)[:200]}: no document is left: {_reasons(dropped, skipped)}"
            )
        about = {
            "seen": seen,
            "dropped": dict(sorted(dropped.items())),
            "guessed_encodings": dict(sorted(guessed.items())),
            "files_skipped": dict(sorted(skipped.items())),
            "sources": given,
            "options": dataclasses.asdict(options),
        }
        return corpus.finish(about, _packages(options))


def _counted(results: Iterable[list[filters.Made]], guessed: Counter) -> Iterator[filters.Made]:
    """The documents of all pieces; those whose encoding was guessed are counted by it."""
    for many in results:
        guessed.update(one.encoding for one in many if one.encoding)
        yield from many


def _write(
    made: Iterable[filters.Made],
    corpus: writer.Writer,
    options: Options,
    dropped: Counter,
    bar: Bar,
) -> int:
    """Writes what is left of the documents; returns how many there were."""
    seen = 0
    with contextlib.ExitStack() as stack:

        def beside(suffix: str) -> pathlib.Path:
            return corpus.part.with_name(f"{corpus.part.name}.{suffix}")

        exact = stack.enter_context(dedup.Exact(beside("seen"))) if options.exact else None
        near = options.near and stack.enter_context(dedup.Near(beside("near"), options.near))
        chosen = None
        if options.sample is not None:
            chosen = sample.Sample(beside("sample"), options.sample, options.seed)
            stack.enter_context(chosen)
        kept = 0
        for one in made:
            seen += 1
            bar.update(one.n_characters)
            reason = one.dropped
            if reason is None and exact and not exact.is_new(one.digest):
                reason = "duplicate"
            if reason is None and near and not near.is_new(one.signature):
                reason = "near_duplicate"
            if reason:
                dropped[reason] += 1
            elif chosen:
                kept += 1
                chosen.add(one.key, one.line, one.n_characters, one.n_bytes)
            else:
                corpus.add_line(one.line, one.n_characters, one.n_bytes)
        if chosen:
            for line, n_characters, n_bytes in chosen.lines():
                corpus.add_line(line, n_characters, n_bytes)
            dropped["not_sampled"] = kept - corpus.documents
    return seen


def _check_extra(options: Options) -> None:
    """Raises InputError before anything is read where a filter's library is not installed."""
    if options.documents.languages:
        decode.needed("py3langid")
    if options.near is not None:
        decode.needed("rensa")


def _packages(options: Options) -> list[str]:
    """Distributions that the text depends on, of those that are installed."""
    import importlib.util

    names = {"trafilatura": "trafilatura", "charset_normalizer": "charset-normalizer"}
    if options.documents.languages:
        names["py3langid"] = "py3langid"
    if options.near is not None:
        names["rensa"] = "rensa"
    return [package for name, package in names.items() if importlib.util.find_spec(name)]


def _reasons(dropped: Counter, skipped: Counter) -> str:
    counts = [f"{n} {reason}" for reason, n in dropped.most_common()]
    counts += [f"{n} files skipped ({reason})" for reason, n in skipped.most_common()]
    return ", ".join(counts) or "there are no files"


def summary(manifest: dict[str, Any]) -> str:
    """A manifest's counts for a terminal."""
    rows = [("seen", manifest["seen"])]
    rows += [(f"dropped, {reason}", n) for reason, n in manifest["dropped"].items()]
    rows += [(f"guessed to be in {e}", n) for e, n in manifest.get("guessed_encodings", {}).items()]
    rows += [(f"files skipped, {why}", n) for why, n in manifest.get("files_skipped", {}).items()]
    rows += [(name, manifest[name]) for name in ("documents", "characters", "bytes")]
    return "\n".join(f"{name:<32}{n:>18,}" for name, n in rows)
