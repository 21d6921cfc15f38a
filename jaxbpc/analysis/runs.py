"""Run folders as the other commands read them: results, and each corpus's documents."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

from jaxbpc import published
from jaxbpc.analysis import bootstrap
from jaxbpc.errors import InputError
from jaxbpc.published.names import model_name
from jaxbpc.run import bucket, results
from jaxbpc.run.record import Record
from jaxbpc.utils.paths import is_remote, place

_MODEL_FIELDS = ("path", "architecture", "parameters", "dtype", "tokenizer_fingerprint")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run. `name` is short, and unique among the runs that were read together.

    given: the folder as it was given, perhaps in a bucket.
    """

    folder: pathlib.Path
    name: str
    results: results.Results
    given: str = ""

    def is_called(self, name: str) -> bool:
        """Whether that is its name, or its folder, as it was given or in other words."""
        if name in (self.name, self.folder.name):
            return True
        folders = [_place(self.given)] if self.given else []
        return _place(name) in [*folders, _place(str(self.folder))]

    def documents(self, corpus: str) -> bootstrap.Documents:
        """The documents of a corpus from the run's record.

        Raises:
          InputError: it is gone, damaged, or not the one that the results were derived from.
        """
        found = bootstrap.read(Record.open(self.folder / corpus))
        reported = self.results.corpora[corpus].nats_full
        if reported is None or not math.isclose(found.nats.sum(), reported, rel_tol=1e-6):
            raise InputError(
                f"{self.folder / corpus}: the record adds up to {found.nats.sum():.6g} nats, "
                f"results.json has {reported}: start the run's command again to fix it"
            )
        return found

    def bpc(self) -> dict[str, float]:
        """BPC by corpus, as far as there is one, and `average` where there is."""
        found = {name: r.bpc for name, r in self.results.corpora.items() if r.bpc is not None}
        if self.results.average_bpc is not None:
            found["average"] = self.results.average_bpc
        return found


def read(folders: list[str]) -> list[Run]:
    """Reads `results.json` of each folder. Raises InputError naming the one at fault."""
    paths = [
        bucket.copy(folder) if is_remote(folder) else pathlib.Path(folder).expanduser()
        for folder in folders
    ]
    paths = [path.parent if path.name == "results.json" else path for path in paths]
    where = [path.resolve() for path in paths]
    for i, path in enumerate(where):
        if path in where[:i]:
            raise InputError(f"{paths[i]} is given twice: give each run once")
    read = [_results(path / "results.json") for path in paths]
    names = [model_name(found.model["path"]) for found in read]
    # The same model twice, say in two dtypes: the folder distinguishes them.
    shorts = [path.name for path in where]
    names = [s if names.count(n) > 1 else n for n, s in zip(names, shorts, strict=True)]
    for i, name in enumerate(names):
        if names.index(name) < i:
            names[i] = str(paths[i])
    return [Run(*parts) for parts in zip(paths, names, read, folders, strict=True)]


def _place(folder: str) -> str:
    """The same for all spellings of a folder on this disk, and of one in a bucket."""
    folder = folder.removeprefix("file://")
    if is_remote(folder):
        return folder.rstrip("/")
    return str(place(folder).resolve())


def _results(path: pathlib.Path) -> results.Results:
    if not path.exists() and list(path.parent.glob("*/results.json")):
        raise InputError(f"{path.parent} is a folder of runs: give one of those in it")
    found = results.read(path)
    missing = [f"model.{name}" for name in _MODEL_FIELDS if name not in found.model]
    missing += [f"window.{name}" for name in ("block_size", "stride") if name not in found.window]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}: give a finished run's folder")
    return found


@dataclasses.dataclass(frozen=True)
class Text:
    """What a run has scored under a name. Samples and template make other text of one file."""

    name: str
    sha256: str
    characters: int
    template: str


def texts(run: Run) -> dict[Text, float | None]:
    """The texts of a run, each with its BPC, if it has one."""
    template = run.results.config.get("data", {}).get("template") or "{content}"
    return {
        Text(name, r.corpus_sha256, r.characters, template): r.bpc
        for name, r in run.results.corpora.items()
    }


def scored(run: Run) -> dict[Text, float]:
    """The texts that a run has a BPC of, with that."""
    return {text: bpc for text, bpc in texts(run).items() if bpc is not None}


def common(found: list[Run]) -> list[Text]:
    """The texts that all runs have a BPC of, in the first one's order."""
    each = [scored(run) for run in found]
    return [text for text in each[0] if all(text in own for own in each)] if each else []


def texts_by_name(found: list[Run]) -> dict[str, set[Text]]:
    """The texts that runs have scored under each corpus's name; where they compare, one."""
    by_name: dict[str, set[Text]] = {}
    for run in found:
        for text in texts(run):
            by_name.setdefault(text.name, set()).add(text)
    return by_name


def unlike_texts(found: list[Run], who: str) -> list[str]:
    """A note for each corpus's name under which runs (`who`: what they are) scored other texts."""
    notes = []
    for name, own in texts_by_name(found).items():
        if len(own) > 1:
            n_files = len({text.sha256 for text in own})
            what = "different files" if n_files > 1 else "different text of one file"
            notes.append(f"{name}: its {who} scored {what}, their numbers do not compare")
    return notes


def unlike_settings(found: list[Run], who: str) -> list[str]:
    """A note for each setting that moves a BPC as a model does, where runs have not the same."""
    notes = []
    for what, of in _SETTINGS.items():
        by_value: dict[str, list[str]] = {}
        for run in found:
            by_value.setdefault(of(run), []).append(run.name)
        if len(by_value) > 1:
            groups = "; ".join(f"{value}: {_few(names)}" for value, names in by_value.items())
            notes.append(
                f"the {who} have not the same {what} ({groups}): differences are also the {what}'s"
            )
    return notes


_NAMED = 3  # runs in a note
_SETTINGS: dict[str, Callable[[Run], str]] = {
    "window": lambda run: "{block_size}, stride {stride}".format(**run.results.window),
    "dtype": lambda run: str(run.results.model["dtype"]),
}


def _few(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def unlike_published(run: Run, corpora: list[str] | None = None) -> list[str]:
    """How a run's settings differ from those of the published numbers, one line each."""
    found = []
    window = run.results.window
    want = {"block_size": published.BLOCK_SIZE, "stride": published.STRIDE}
    for field, value in want.items():
        if window[field] != value:
            found.append(f"config.window.{field} is {window[field]}, the published one {value}")
    data = run.results.config.get("data", {})
    if data.get("samples") is not None:
        found.append(
            f"config.data.samples is {data['samples']}, the published numbers are of all rows"
        )
    if data.get("template", "{content}") != "{content}":
        found.append(
            f"config.data.template is {data['template']!r}, the published one '{{content}}'"
        )
    lines = [unlike_corpus(run, name) for name in corpora or run.results.corpora]
    return found + [line for line in lines if line]


def unlike_corpus(run: Run, name: str) -> str | None:
    """How a corpus that is called as one of the paper's differs from it in size, if it does."""
    size = published.MEGACHARACTERS.get(name)
    have = run.results.corpora[name].characters
    if size is None or abs(have / 1e6 - size) <= 1:
        return None
    return f"{name} has {have:,} characters, the paper's corpus {size} million"
