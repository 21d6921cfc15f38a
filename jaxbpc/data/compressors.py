"""What compressors for any data need of a corpus: gzip, xz and zstd, in bits per character.

The documents' texts (the template filled in) as UTF-8, one after the other with nothing between
them, are compressed as one stream, and the bits of that are divided by their characters: gzip at
level 9 (window 32 KB), xz at 6 and zstd at 19 (windows of 8 MB), headers included. Of a corpus of
more than a GB the first documents are taken, up to `LIMIT` bytes.

This takes about a second for 3 MB, so it is done once, kept in the user's cache by the corpus's
hash, and made by a process of its own at the lowest priority while a model is loaded and scores.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import lzma
import operator
import os
import pathlib
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.utils.files import fingerprint

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 10**9  # bytes of text
_VERSION = 1  # of the rules above
_CHUNK = 1 << 20
_SMALL = 1 << 18  # bytes of a file that takes less time than a process's start
_GZIP = 31  # zlib's word for a gzip header


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus as a run takes it."""

    path: pathlib.Path
    sha256: str
    samples: int | None = None
    template: str = "{content}"

    def file(self, cache: pathlib.Path) -> pathlib.Path:
        """Where its baselines are kept."""
        about = dataclasses.asdict(self) | {"path": "", "version": _VERSION}
        about |= {"zlib": zlib.ZLIB_RUNTIME_VERSION, "zstd": zstd.zstd_version}
        return cache / "baselines" / f"{fingerprint(about)[:32]}.json"


def measure(documents: Iterable[corpora.Document]) -> dict[str, float]:
    """Bits per character of gzip, xz and zstd; {} where there is no text."""
    packers: dict[str, Any] = {
        "gzip": zlib.compressobj(9, zlib.DEFLATED, _GZIP),
        "xz": lzma.LZMACompressor(preset=6),
        "zstd": zstd.ZstdCompressor(level=19),
    }
    sizes = dict.fromkeys(packers, 0)
    n_characters = 0
    with concurrent.futures.ThreadPoolExecutor(len(packers)) as pool:

        def feed(give: Callable[[Any], bytes]) -> None:
            for name, data in zip(packers, pool.map(give, packers.values()), strict=True):
                sizes[name] += len(data)

        for chunk, n in _chunks(documents):
            n_characters += n
            feed(operator.methodcaller("compress", chunk))
        feed(operator.methodcaller("flush"))
    return {name: 8 * n / n_characters for name, n in sizes.items()} if n_characters else {}


def _chunks(documents: Iterable[corpora.Document]) -> Iterator[tuple[bytes, int]]:
    """(UTF-8 of some documents, their characters), up to LIMIT."""
    texts: list[str] = []
    size = total = 0
    for document in documents:
        if total and total + document.n_bytes > LIMIT:
            break
        texts.append(document.text)
        size += document.n_bytes
        total += document.n_bytes
        if size >= _CHUNK:
            yield "".join(texts).encode(), sum(map(len, texts))
            texts, size = [], 0
    if texts:
        yield "".join(texts).encode(), sum(map(len, texts))


def kept(corpus: Corpus, cache: pathlib.Path) -> dict[str, float] | None:
    """The baselines that the cache has of a corpus."""
    try:
        return json.loads(corpus.file(cache).read_text())
    except (OSError, ValueError):
        return None


def bits_per_character(corpus: Corpus, cache: pathlib.Path) -> dict[str, float]:
    """The baselines of a corpus, from the cache where they have been made before.

    Raises:
      InputError: the corpus or the cache is at fault.
    """
    found = kept(corpus, cache)
    if found is None:
        found = measure(corpora.documents(corpus.path, corpus.samples, corpus.template))
        if corpora.file_sha256(corpus.path) != corpus.sha256:
            raise InputError(
                f"{corpus.path}: changed while it was read: start the same command again once it "
                "is written"
            )
        file = corpus.file(cache)
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(found))
            os.replace(unfinished, file)
        except OSError as e:
            raise InputError(
                f"{file}: cannot be written ({e.strerror}): give another folder in the "
                "environment variable JAXBPC_CACHE"
            )
    return found


class Background:
    """Makes what the cache lacks of `corpora` while its body runs, which it does not delay.

    A context manager; the process ends with it, or with this one, whatever is not ready then.
    """

    def __init__(self, corpora: dict[str, Corpus], cache: pathlib.Path):
        self._corpora, self._cache = corpora, cache
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Background":
        todo = []
        for corpus in self._corpora.values():
            if corpus.path.stat().st_size <= _SMALL:
                bits_per_character(corpus, self._cache)
            elif kept(corpus, self._cache) is None:
                todo.append(corpus)
        if not todo:
            return self
        fields = [dataclasses.asdict(c) | {"path": str(c.path.absolute())} for c in todo]
        with contextlib.suppress(OSError):  # no room for a process: no baselines
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jaxbpc.data.compressors"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            assert self._process.stdin is not None
            work = {"corpora": fields, "cache": str(self._cache.absolute())}
            self._process.stdin.write(json.dumps(work) + "\n")
            self._process.stdin.flush()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def working(self) -> bool:
        """Whether some are not ready yet."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> None:
        """Returns when it has ended."""
        if self._process is not None:
            self._process.wait()

    def found(self) -> dict[str, dict[str, float]]:
        """By corpus, those that are ready."""
        made = {name: kept(corpus, self._cache) for name, corpus in self._corpora.items()}
        return {name: values for name, values in made.items() if values}

    def missing(self) -> list[str]:
        """The corpora that have text and no baselines."""
        return [name for name, corpus in self._corpora.items() if kept(corpus, self._cache) is None]


def _work() -> None:
    """The process in the background: what its parent writes, until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to every process
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(19)
    for fields in job["corpora"]:
        corpus = Corpus(**(fields | {"path": pathlib.Path(fields["path"])}))
        bits_per_character(corpus, pathlib.Path(job["cache"]))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _work()
