"""What is in a corpus, and how much of it stands in another.

  python -m jaxbpc.prepare check CORPUS [--tokenizer T] [--against OTHER] [--baselines]
                                        [--json FILE] [--workers N]

CORPUS: a .jsonl or .json file as the evaluator reads it (also compressed; then without tokens and
baselines). Counted are documents, characters, bytes, empty and equal documents, lengths, dates and
the rows that the evaluator would refuse, each kind with its first row (from 0, blank lines not
counted); of an array that is broken, all from there on is one row.
--tokenizer   a folder or hub id: tokens, documents that do not come back from them, unknown tokens,
              special tokens in the text; the tokens are kept for the run that scores the corpus
--against     another corpus: the documents that are in it too, and the share of windows of 50
              characters (spaces counted as one) that are; of large corpora a sample by hash
--baselines   bits per character of gzip, xz and zstd; kept, too
--json        writes the counts to a file
"""

import contextlib
import pathlib
import tempfile
from typing import Any

from absl import flags

from jaxbpc import cli
from jaxbpc.checkpoint import locate
from jaxbpc.data import compressors, corpora, tokens
from jaxbpc.errors import InputError
from jaxbpc.prepare import dedup, overlap
from jaxbpc.prepare.readers import inputs
from jaxbpc.prepare.tally import Tally, read, tally
from jaxbpc.utils import paths, processes
from jaxbpc.utils.files import write_json
from jaxbpc.utils.progress import Bar

FLAGS = flags.FlagValues()
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "folder or hub id", flag_values=FLAGS)
_AGAINST = flags.DEFINE_string("against", None, "another corpus", flag_values=FLAGS)
_BASELINES = flags.DEFINE_boolean("baselines", False, "compressors", flag_values=FLAGS)
_JSON = flags.DEFINE_string("json", None, "file", flag_values=FLAGS)
_WORKERS = flags.DEFINE_integer("workers", None, "processes", flag_values=FLAGS, lower_bound=1)
# A document counts as copied where this share of it is in the other corpus.
_COPIED = 0.5


def main(arguments: list[str]) -> None:
    """One corpus."""
    if len(arguments) != 1:
        raise InputError("give: CORPUS; see --help")
    workers = _WORKERS.value or processes.cores()
    found = check(arguments[0], _TOKENIZER.value, _AGAINST.value, _BASELINES.value, workers=workers)
    if _JSON.value:
        write_json(pathlib.Path(_JSON.value), found)
    cli.show(table(found), "give --json FILE to keep the counts")


def check(
    corpus: str,
    tokenizer: str | None = None,
    against: str | None = None,
    with_baselines: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """The counts of a corpus as JSON values.

    Args:
      corpus, against: files of rows.
      tokenizer: a folder or hub id.

    Raises:
      InputError: a file or tokenizer at fault. Rows at fault are counted, unless there is a
        tokenizer or baselines are wanted.
    """
    this = _source(corpus)
    other = None if against is None else _source(against)
    # What may be at fault shows before the text is read, which takes long.
    folder_of_tokenizer = None
    if tokenizer is not None:
        _plain(this, "--tokenizer")
        folder_of_tokenizer = locate.resolve(tokenizer, weights=False)
        tokens.load_tokenizer(folder_of_tokenizer)
    if with_baselines:
        _plain(this, "--baselines")
    limit = None
    if other is not None:
        limit = overlap.bound(max(_size(this), _size(other)))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        table = stack.enter_context(dedup.Exact(pathlib.Path(folder) / "seen"))
        shared = None
        if other is not None:
            others = stack.enter_context(dedup.Exact(pathlib.Path(folder) / "others"))
            shared = _Shared(others)
            for found in _tallies(other, limit, workers):
                shared.learn(found)
        total, n_equal = Tally(), 0
        for found in _tallies(this, limit, workers):
            total.add(found)
            n_equal += sum(not table.is_new(digest) for digest in found.digests)
            if shared is not None:
                shared.compare(found)
    counts = _counts(corpus, total, n_equal)
    if shared is not None:
        counts["against"] = {"corpus": against, **shared.to_json()}
    if folder_of_tokenizer is not None:
        counts["tokens"] = {"tokenizer": tokenizer, **_tokens(this, folder_of_tokenizer)}
    if with_baselines:
        path = pathlib.Path(this.path)
        about = compressors.Corpus(path, corpora.file_sha256(path))
        counts["baselines"] = compressors.bits_per_character(about, paths.cache_folder())
    return counts


class _Shared:
    """What a corpus has in common with another, which is learnt first."""

    def __init__(self, documents: dedup.Exact):
        self._documents = documents
        self._windows = overlap.Windows()
        self.n_documents = self.n_copied = self.n_windows = self.n_shared = 0

    def learn(self, found: Tally) -> None:
        for digest in found.digests:
            self._documents.is_new(digest)
        for hashes in found.windows:
            self._windows.add(hashes)

    def compare(self, found: Tally) -> None:
        for digest, hashes in zip(found.digests, found.windows, strict=True):
            known = self._documents.has(digest)
            n = int(self._windows.has(hashes).sum())
            self.n_documents += known
            self.n_windows += len(hashes)
            self.n_shared += n
            self.n_copied += known or (n > 0 and n >= _COPIED * len(hashes))

    def to_json(self) -> dict[str, Any]:
        share = self.n_shared / self.n_windows if self.n_windows else None
        return {
            "shared_documents": self.n_documents,
            "documents_half_shared": self.n_copied,
            "windows_looked_at": self.n_windows,
            "shared_windows": share,
        }


def _source(path: str) -> inputs.Source:
    found = None if pathlib.Path(path).is_dir() else next(inputs.find([path]))
    if found is None or found.kind not in (inputs.LINES, inputs.JSON):
        raise InputError(f"{path}: a corpus is a .jsonl or .json file: make one by `prepare files`")
    return found


def _size(found: inputs.Source) -> int:
    return pathlib.Path(found.path).stat().st_size


def _plain(found: inputs.Source, flag: str) -> None:
    """Raises InputError where a file is compressed, which `flag` cannot read."""
    if found.compression:
        raise InputError(
            f"{found.path}: {flag} needs the file as the evaluator does: decompress it"
        )


def _tallies(found: inputs.Source, limit: int | None, workers: int):
    """The tally of each piece, in order."""
    with (
        Bar(found.name, "ch") as bar,
        contextlib.closing(processes.ordered(tally, read(found), limit, workers)) as results,
    ):
        for one in results:
            bar.update(one.characters)
            yield one


def _counts(corpus: str, total: Tally, n_equal: int) -> dict[str, Any]:
    used = total.lengths.nonzero()[0]
    bins = range(int(used[0]), int(used[-1]) + 1) if len(used) else range(0)
    return {
        "corpus": corpus,
        "rows": total.rows,
        "documents": total.documents,
        "empty_documents": total.empty,
        "duplicates": n_equal,
        "characters": total.characters,
        "bytes": total.n_bytes,
        "refused": {name: n for name, (n, _) in sorted(total.faults.items())},
        "first_refused": {name: first for name, (_, first) in sorted(total.faults.items())},
        "dated_documents": total.dated,
        "unreadable_dates": total.undated,
        "dates": None if total.dates is None else list(total.dates),
        "lengths": [[1 << i, (2 << i) - 1, int(total.lengths[i])] for i in bins],
    }


def _tokens(found: inputs.Source, folder: pathlib.Path) -> dict[str, Any]:
    path = pathlib.Path(found.path)
    with Bar(f"tokenising {path.stem}", "ch") as bar:
        stream = tokens.stream(path, folder, paths.cache_folder(), progress=bar.update)
    return {"tokens": len(stream.token_ids), **stream.audit}


_FAULTS = {
    "no_text": "rows without text in `content`",
    "not_json": "rows that are no JSON objects",
    "not_unicode": "rows with half a surrogate pair",
    "not_utf8": "rows that are not UTF-8",
    "too_long": "documents too long for the evaluator",
}

# Label, its count in the audit, and its first row there.
_AUDIT = (
    ("documents not restored", "documents_not_restored", "first_row_not_restored"),
    ("unknown tokens", "unknown_tokens", "first_row_unknown"),
    ("special tokens in text", "special_tokens_in_text", "first_row_special"),
)


def table(found: dict[str, Any]) -> str:
    """The counts for a terminal."""
    lines = [found["corpus"], "-" * len(found["corpus"])]

    def add(name: str, value: Any, more: str = "") -> None:
        word = "-" if value is None else f"{value:,}" if isinstance(value, int) else value
        lines.append(f"{name:<36}{word:>18}{more}")

    for name in ("documents", "characters", "bytes"):
        add(name, found[name])
    add("empty documents", found["empty_documents"])
    add("documents seen before", found["duplicates"])
    for name, n in found["refused"].items():
        add(_FAULTS[name], n, f", refused, row {found['first_refused'][name]} first")
    if found["dates"]:
        add("documents with a date", found["dated_documents"], ", {} to {}".format(*found["dates"]))
    if found["unreadable_dates"]:
        add("documents with an unreadable date", found["unreadable_dates"])
    if audit := found.get("tokens"):
        add("tokens", audit["tokens"])
        for name, count, first in _AUDIT:
            row = audit.get(first)
            add(name, audit.get(count), "" if row is None else f", row {row} first")
    for name, bits in found.get("baselines", {}).items():
        add(f"{name}, bits per character", f"{bits:.4f}")
    if shared := found.get("against"):
        share = shared["shared_windows"]
        lines += ["", f"in {shared['corpus']}:"]
        add("documents in it, too", shared["shared_documents"])
        add("documents of which half is in it", shared["documents_half_shared"])
        add("windows of 50 characters in it", "-" if share is None else f"{share:.3%}")
        add("windows looked at", shared["windows_looked_at"])
    return "\n".join([*lines, "", *_histogram(found["lengths"])])


def _histogram(lengths: list[list[int]]) -> list[str]:
    largest = max((n for _, _, n in lengths), default=0)
    lines = [f"{'characters':<25}{'documents':>12}"] if lengths else []
    for low, high, n in lengths:
        bar = "#" * -(-40 * n // largest)
        lines.append(f"{f'{low:,}–{high:,}':<25}{n:>12,}  {bar}".rstrip())
    return lines
