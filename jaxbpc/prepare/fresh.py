"""Text newer than a model, from dumps that are on disk.

  python -m jaxbpc.prepare fresh KIND SOURCE … --after DATE --name NAME [--out DIR]

KIND      SOURCE                                            what it becomes
git       clones with their history, or folders of them     Python files that are new since DATE
arxiv     arXiv_src_YYMM_NNN.tar, e-prints, or folders      papers as Markdown with LaTeX formulas
wet       Common Crawl's .warc.wet.gz, or folders           pages of prose

--after       keeps what is later: 2024-03-31, or 2024-03, which is that month's end
--before      keeps what is earlier: 2024-07-01, or 2024-07
--out         folder of the corpus NAME.jsonl and its manifest (default data)
--sample      CHARACTERS of a random choice of documents, by --seed (default 0)
--workers     how many sources at once (default: one a core); the corpus does not depend on it
--metadata    arxiv: arxiv-metadata-oai-snapshot.json, for exact dates, titles and --category
--category    with --metadata: the primary category's archive, or the category (default math)
--language    wet: ISO 639-3 (default eng)

A stopped command goes on where it was. Cleaning is as in the paper but for pages, where C4's rules
stand in for its choice by a language model; each KIND's module has the details. A date is what the
source says of itself: the first commit's, the first version's (without --metadata the month of the
id), the crawl's, which a page may be much older than.
"""

import collections
import dataclasses
import datetime
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from absl import flags

from jaxbpc import cli
from jaxbpc.errors import InputError
from jaxbpc.prepare import files, parts, writer
from jaxbpc.prepare.readers import arxiv, git, latex, wet
from jaxbpc.utils import dates, processes, progress

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "data", "folder of the corpus", flag_values=FLAGS)
_NAME = flags.DEFINE_string("name", None, "of the corpus", flag_values=FLAGS)
_AFTER = flags.DEFINE_string("after", None, "the model's cutoff", flag_values=FLAGS)
_BEFORE = flags.DEFINE_string("before", None, "a later date", flag_values=FLAGS)
_SAMPLE = flags.DEFINE_integer("sample", None, "characters", 1, flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "of the sample", 0, flag_values=FLAGS)
_WORKERS = flags.DEFINE_integer("workers", None, "processes", 1, flag_values=FLAGS)
_METADATA = flags.DEFINE_string("metadata", None, "arXiv's", flag_values=FLAGS)
_CATEGORY = flags.DEFINE_string("category", None, "of arXiv", flag_values=FLAGS)
_LANGUAGE = flags.DEFINE_string("language", None, "of pages", flag_values=FLAGS)

KINDS = ("git", "arxiv", "wet")


@dataclasses.dataclass(frozen=True)
class Options:
    """What decides which rows a source gives. Dates are days; `after` and `before` are not kept."""

    kind: str
    after: datetime.date
    before: datetime.date | None = None
    seed: int = 0
    language: str = "eng"
    metadata: str | None = None
    category: str = "math"

    def wanted(self, date: datetime.date) -> bool:
        """Whether a date lies between the two."""
        return self.after < date and (self.before is None or date < self.before)


def main(arguments: list[str]) -> None:
    """`KIND SOURCE …`."""
    kind, *sources = arguments or [""]
    if kind not in KINDS or not sources:
        raise InputError(f"give one of {', '.join(KINDS)}, and sources; see prepare fresh --help")
    if not _NAME.value or not _AFTER.value:
        raise InputError("give --after DATE, the model's cutoff, and --name NAME")
    after = dates.day("--after", _AFTER.value, last=True)
    before = dates.day("--before", _BEFORE.value) if _BEFORE.value else None
    _check_kind(kind)
    language, category = _LANGUAGE.value or "eng", _CATEGORY.value or "math"
    options = Options(kind, after, before, _SEED.value, language, _METADATA.value, category)
    out = pathlib.Path(_OUT.value).expanduser()
    manifest = fresh(sources, options, out, _NAME.value, _SAMPLE.value, _WORKERS.value)
    kept = writer.manifest_path(out / f"{_NAME.value}.jsonl")
    cli.show(files.summary(manifest), f"the counts are in {kept}")


def _check_kind(kind: str) -> None:
    """Raises InputError where a flag is given that does nothing here."""
    for of, name, value in (
        ("wet", "language", _LANGUAGE.value),
        ("arxiv", "metadata", _METADATA.value),
        ("arxiv", "category", _CATEGORY.value),
    ):
        if value is not None and kind != of:
            raise InputError(f"--{name} is of {of}, not of {kind}: leave it out")
    if _CATEGORY.value and not _METADATA.value:
        raise InputError("--category needs --metadata: arXiv's sources have no categories")


def fresh(
    sources: list[str],
    options: Options,
    out: pathlib.Path,
    name: str,
    characters: int | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Makes the corpus `out/name.jsonl`; returns its manifest.

    Args:
      sources: clones, archives or files, or folders of them, in the corpus's order.
      characters: of a random choice of documents; None: all.
      workers: processes; None: one a core.

    Raises:
      InputError: a source is not there or of another kind, or nothing in them is wanted.
    """
    found = list(dict.fromkeys(u for source in sources for u in units(source, options.kind)))
    known = None
    given = {k: v for k, v in dataclasses.asdict(options).items() if v is not None}
    about: dict[str, Any] = {"options": given, "sources": sources}
    if options.kind == "arxiv":
        about["pandoc"] = latex.pandoc_version()
        if options.metadata:
            path = pathlib.Path(options.metadata)
            known = arxiv.metadata(path, options.wanted, options.category)
        else:
            progress.tell("without --metadata papers of all categories are taken")
    with writer.Writer(out, name) as corpus:
        folder = out / f".{name}.parts"
        work = Work(options, known)
        settings = f"{about} {hashlib.sha256(repr(known).encode()).hexdigest()}"
        done, failed = parts.collect(found, work, settings, folder, workers or processes.cores())
        if not done:
            raise InputError(next(iter(failed.values())))
        counts = parts.merge(done, corpus, characters, options.seed)
        seen, cut_short = counts.pop("seen", 0), counts.pop(parts.CUT_SHORT, 0)
        if not corpus.documents:
            reasons = ", ".join(f"{n} {reason}" for reason, n in counts.most_common() if n)
            raise InputError(f"nothing new among {seen} documents ({reasons}): give other dates")
        about["options"] |= {"sample": characters}
        about |= {"seen": seen, "dropped": dict(sorted(counts.items())), "failed": failed}
        about["cut_short"] = cut_short
        manifest = corpus.finish(json.loads(json.dumps(about, default=str)))
    shutil.rmtree(folder)
    return manifest


@dataclasses.dataclass(frozen=True)
class Work:
    """What is done with a source. `known`: papers by arXiv's metadata, where it is given."""

    options: Options
    known: dict[str, tuple[datetime.date, str]] | None

    def state(self, unit: pathlib.Path) -> str:
        """What changes when the source does. Raises InputError where it cannot be used."""
        if self.options.kind == "git":
            return git.Clone(unit).head
        try:
            stat = unit.stat()
        except OSError as e:
            raise InputError(f"{unit}: cannot be read ({e.strerror}): give what is there")
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def rows(
        self, unit: pathlib.Path, counts: collections.Counter[str]
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """(row, what makes it a duplicate of others that have the same) of a source."""
        options = self.options
        if options.kind == "git":
            for row in git.rows(unit, options.wanted, options.seed, counts):
                yield row, git.essence(row["content"])
            return
        if options.kind == "arxiv":
            found = arxiv.rows(unit, options.wanted, self.known, counts)
        else:
            found = wet.rows(unit, options.wanted, options.language, counts)
        for row in found:
            yield row, row["content"]


def units(source: str, kind: str) -> list[pathlib.Path]:
    """What a source is made of: clones' git folders, or files. Raises InputError of none."""
    path = pathlib.Path(source).expanduser()
    try:
        if kind == "git":
            found = git.find(path)
        elif path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and _fits(p.name, kind))
        else:
            path.stat()
            found = [path]
    except OSError as e:
        raise InputError(f"{source}: cannot be read ({e.strerror}): give what is there")
    if not found:
        what = {"git": "clone", "arxiv": "source archive", "wet": ".warc.wet.gz file"}[kind]
        raise InputError(f"{source}: there is no {what}: give one, or a folder of them")
    return [p.resolve() for p in found]


def _fits(name: str, kind: str) -> bool:
    """Whether a file of a folder is of the kind, by its name."""
    if kind == "wet":
        return name.endswith(".warc.wet.gz")
    return name.endswith((".tar", ".gz", ".tgz")) or bool(arxiv.paper_id(name))
