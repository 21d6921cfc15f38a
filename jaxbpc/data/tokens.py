"""Documents → one stream of tokens, made once and cached on disk, memory-mapped when used.

Each document is tokenised on its own with the tokenizer's defaults (a BOS stands before every
document exactly where the tokenizer adds one); all ids are then one stream. Characters and bytes
are counted on the text itself, never through tokens.

A folder's `tokenizer.json` is used as it stands: the class that `tokenizer_config.json` names may
rebuild the tokenizer and lose parts of it (GPT2Tokenizer drops the digit splitting of SmolLM2), and
what it rebuilds differs between versions of transformers.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxbpc.config import MAX_DOCUMENT_CHARACTERS
from jaxbpc.data import corpora, qwen_tokenizer, tokenizer_audit, windows
from jaxbpc.errors import InputError, short
from jaxbpc.utils import strict_json
from jaxbpc.utils.files import fingerprint, read_checked, write_checked

log = logging.getLogger(__name__)
_VERSION = 6  # of the cache's layout and of the rules above
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    qwen_tokenizer.FILE,
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)
_ARRAYS = {"token_ids": np.uint32, "token_char_end": np.int64, "documents": np.int64}
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1024
_MOST_SUBSETS = 10_000  # their names are held in memory
_SUBSET_CHARACTERS = 200  # of a name
# Four bytes of a character, each a token, and an end of text are far from it.
_MOST_TOKENS_A_CHARACTER = 20


@dataclasses.dataclass(frozen=True)
class TokenStream:
    """A tokenised corpus. Arrays are memory maps of the cache.

    token_ids: [N] uint32. token_char_end: [N] int64, characters of the corpus up to a token's end,
    -1 where the tokenizer has none. documents: [n, 6] int64 in the columns of
    `windows.DOCUMENT_COLUMNS`. bos: [k] int64, positions of tokens that stand for no text at a
    document's begin. audit: what the tokenizer loses, see `Audit.to_json`.
    """

    token_ids: np.ndarray
    token_char_end: np.ndarray
    documents: np.ndarray
    subsets: list[str]
    characters: int
    bytes: int
    empty_documents: int
    max_id: int
    bos: np.ndarray
    corpus_sha256: str
    audit: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def counts(self) -> dict[str, Any]:
        """What of a corpus's result is known before it is scored."""
        return {
            "characters": self.characters,
            "bytes": self.bytes,
            "documents": len(self.documents),
            "empty_documents": self.empty_documents,
            "corpus_sha256": self.corpus_sha256,
        }


def of_texts(texts: Iterable[str], encode: Callable[[str], Sequence[int]]) -> TokenStream:
    """The stream of documents by any tokenizer, in memory: for a model in training.

    Args:
      encode: a document → its ids, those that stand before each document included.
    """
    ids: list[np.ndarray] = []
    rows, empty, n_tokens, digest = [], 0, 0, hashlib.sha256()
    for row, text in enumerate(texts):
        digest.update(f"{json.dumps(text)}\n".encode())
        if not text:
            empty += 1
            continue
        ids.append(np.asarray(encode(text), np.uint32))
        n_bytes = len(text.encode("utf-8", "surrogatepass"))
        rows.append((n_tokens, len(text), n_bytes, row, -1, -1))
        n_tokens += len(ids[-1])
    documents = np.array(rows, np.int64).reshape(-1, len(windows.DOCUMENT_COLUMNS))
    token_ids = np.concatenate([*ids, np.zeros(0, np.uint32)])
    return TokenStream(
        token_ids=token_ids,
        token_char_end=np.full(n_tokens, -1, np.int64),
        documents=documents,
        subsets=[],
        characters=int(documents[:, 1].sum()),
        bytes=int(documents[:, 2].sum()),
        empty_documents=empty,
        max_id=int(token_ids.max(initial=0)),
        bos=np.zeros(0, np.int64),
        corpus_sha256=digest.hexdigest(),
    )


def tokenizer_fingerprint(folder: pathlib.Path) -> str:
    """SHA-256 over the names and bytes of a folder's tokenizer files.

    Raises:
      InputError: the folder has none.
    """
    digest = hashlib.sha256()
    names = [name for name in _FILES if (folder / name).is_file()]
    for name in names:
        if (folder / name).stat().st_size > strict_json.MOST_BYTES:
            raise InputError(
                f"{folder / name}: has more than {strict_json.MOST_BYTES >> 20} MiB, no tokenizer "
                "has: give another as --config.model.tokenizer"
            )
    if not set(names) - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}:
        raise InputError(
            f"{folder}: no tokenizer files (tokenizer.json, tokenizer.model, …): give a folder or "
            "hub id as --config.model.tokenizer"
        )
    for name in names:
        digest.update(f"{name}\0".encode())
        try:
            with open(folder / name, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as e:
            raise InputError(f"{folder / name}: cannot be read ({e.strerror}): check the file")
    return digest.hexdigest()


def load_tokenizer(folder: pathlib.Path):
    """The Hugging Face tokenizer of a folder; no remote code is ever run. Raises InputError."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # "PyTorch was not found"
    import transformers

    transformers.logging.set_verbosity_error()
    has_json = (folder / "tokenizer.json").is_file()
    cls = transformers.PreTrainedTokenizerFast if has_json else transformers.AutoTokenizer
    if not has_json and (folder / qwen_tokenizer.FILE).is_file():
        return transformers.PreTrainedTokenizerFast(tokenizer_object=qwen_tokenizer.convert(folder))
    with _named(f"{folder}: its tokenizer cannot be loaded"):
        tokenizer = cls.from_pretrained(str(folder), trust_remote_code=False)
    with _named(f"{folder}: its tokenizer fails"):
        n_tokens = len(tokenizer(string.printable, verbose=False)["input_ids"])
    if n_tokens > _MOST_TOKENS_A_CHARACTER * len(string.printable):
        raise InputError(
            f"{folder}: its tokenizer makes {n_tokens:,} tokens of {len(string.printable)} "
            "characters: give another as --config.model.tokenizer"
        )
    return tokenizer


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Turns what the tokenizer's library raises into one line.

    It raises what it likes on files that it cannot read; a panic of its Rust code is no Exception.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as e:
        raise InputError(
            f"{what} ({type(e).__name__}: {short(e)}): give another as --config.model.tokenizer"
        )


def stream(
    path: pathlib.Path,
    tokenizer_folder: pathlib.Path,
    cache: pathlib.Path,
    samples: int | None = None,
    template: str = "{content}",
    progress: Callable[[int], Any] | None = None,
    most_characters: int = MAX_DOCUMENT_CHARACTERS,
) -> TokenStream:
    """The tokens of corpus file `path`, from the cache where they have been made before.

    A cache that is damaged is made again.

    Args:
      progress: called with the number of characters of each batch that was tokenised.
      most_characters: of a document; a longer one is refused.

    Raises:
      InputError: a fault in the corpus or tokenizer.
    """
    import filelock

    sha256 = corpora.file_sha256(path)
    key = _key(sha256, tokenizer_folder, samples, template)
    folder = cache / "tokens" / key[:32]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if (folder / "meta.json").exists():
                try:
                    return _open(folder, sha256)
                except InputError as e:
                    log.warning("%s", e)
            documents = corpora.documents(path, samples, template, most_characters)
            made = _tokenize(path, documents, tokenizer_folder, folder, progress)
            now = _key(corpora.file_sha256(path), tokenizer_folder, samples, template)
            if now != key:  # else other tokens would be kept under this key
                shutil.rmtree(made)
                raise InputError(
                    f"{path}, or the tokenizer in {tokenizer_folder}, changed while it was read: "
                    "start the same command again once it is written"
                )
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(made, folder)
            return _open(folder, sha256)
    except OSError as e:
        raise InputError(
            f"{folder}: the token cache cannot be written ({e.strerror}): give another folder "
            "in the environment variable JAXBPC_CACHE"
        )


def _key(sha256: str, tokenizer_folder: pathlib.Path, samples: int | None, template: str) -> str:
    """All that the tokens of a corpus depend on, as one hash."""
    return fingerprint(
        {
            "version": _VERSION,
            "corpus": sha256,
            "tokenizer": tokenizer_fingerprint(tokenizer_folder),
            "samples": samples,
            "template": template,
            "libraries": _library_versions(),
        }
    )


def _open(folder: pathlib.Path, sha256: str) -> TokenStream:
    """The stream that a folder of the cache holds. Raises InputError where it is damaged."""
    arrays = {}
    remedy = "it is made again"
    meta = read_checked(folder / "meta.json", remedy)
    try:
        for name, dtype in _ARRAYS.items():
            with open(folder / name, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != meta["sha256"][name]:
                raise ValueError(f"{name} is not what was written")
            data: np.ndarray = np.zeros(0, dtype)
            if (folder / name).stat().st_size:  # an empty file cannot be mapped
                data = np.memmap(folder / name, dtype, mode="r")
            arrays[name] = data
    except (OSError, ValueError) as e:
        raise InputError(f"{folder}: a damaged token cache ({str(e)[:100]}): {remedy}")
    arrays["documents"] = arrays["documents"].reshape(-1, len(windows.DOCUMENT_COLUMNS))
    first = arrays["documents"][:, 0]
    return TokenStream(
        **arrays,
        subsets=meta["subsets"],
        characters=int(arrays["documents"][:, 1].sum()),
        bytes=int(arrays["documents"][:, 2].sum()),
        empty_documents=meta["empty_documents"],
        max_id=meta["max_id"],
        bos=(first[:, None] + np.arange(meta["n_bos"])).ravel(),
        audit=meta["audit"],
        corpus_sha256=sha256,
    )


def _tokenize(path, documents, tokenizer_folder, folder: pathlib.Path, progress) -> pathlib.Path:
    """Writes the stream of a corpus to a folder beside `folder`, and returns it."""
    tokenizer = load_tokenizer(tokenizer_folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    n_tokens = n_characters = empty = 0
    max_id = -1
    subsets: dict[str, int] = {}
    audited: tokenizer_audit.Audit | None = None
    files = {name: open(temporary / name, "wb") for name in _ARRAYS}  # noqa: SIM115
    digests = {name: hashlib.sha256() for name in _ARRAYS}

    def write(name: str, data: bytes) -> None:
        files[name].write(data)
        digests[name].update(data)

    try:
        for batch in _batches(documents):
            kept = [d for d in batch if d.text]
            empty += len(batch) - len(kept)
            if not kept:
                continue
            with _named(_rows(kept)):
                audited = audited or tokenizer_audit.Audit(tokenizer, [d.text[:1000] for d in kept])
            encoded = list(_encode(tokenizer, kept))
            with _named(_rows(kept)):
                audited.add(kept, [ids for ids, _ in encoded])
            for document, (ids, ends) in zip(kept, encoded, strict=True):
                subset = _subset(document, subsets, path)
                n_text = len(document.text)
                fields = (n_tokens, n_text, document.n_bytes, document.row, document.date, subset)
                write("documents", np.array(fields, np.int64).tobytes())
                write("token_ids", ids.tobytes())
                ends = np.where(ends < 0, -1, ends + n_characters)
                write("token_char_end", ends.tobytes())
                n_tokens += len(ids)
                n_characters += n_text
                max_id = max(max_id, int(ids.max(initial=0)))
            if progress:
                progress(sum(len(d.text) for d in kept))
    finally:
        for file in files.values():
            file.close()
    if n_characters and not n_tokens:
        raise InputError(
            f"{path}: the tokenizer gives no token for its text: give another as "
            "--config.model.tokenizer"
        )
    meta: dict[str, Any] = {"n_tokens": n_tokens, "empty_documents": empty}
    meta |= {"max_id": max_id, "n_bos": audited.before if audited else 0}
    meta |= {"audit": audited.to_json() if audited else {}}
    meta["sha256"] = {name: digest.hexdigest() for name, digest in digests.items()}
    write_checked(temporary / "meta.json", meta | {"subsets": list(subsets)})
    return temporary


def _subset(document: corpora.Document, subsets: dict[str, int], path: pathlib.Path) -> int:
    """The number of a document's subset, in the order of their first; -1 where it has none."""
    if document.subset is None:
        return -1
    number = subsets.setdefault(document.subset, len(subsets))
    if number >= _MOST_SUBSETS or len(document.subset) > _SUBSET_CHARACTERS:
        raise InputError(
            f"{path}, row {document.row} (from 0): `subset` has more than {_MOST_SUBSETS:,} values "
            f"or {_SUBSET_CHARACTERS} characters: it names groups of documents, leave it out"
        )
    return number


def _batches(documents: Iterator[corpora.Document]) -> Iterator[list[corpora.Document]]:
    """Groups documents to what the tokenizer does in parallel, bounded in memory."""
    batch: list[corpora.Document] = []
    n_characters = 0
    for document in documents:
        batch.append(document)
        n_characters += len(document.text)
        if len(batch) >= _BATCH_DOCUMENTS or n_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def _rows(documents: list[corpora.Document]) -> str:
    return f"the tokenizer fails on rows {documents[0].row} to {documents[-1].row} (from 0)"


def _encode(
    tokenizer, documents: list[corpora.Document]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(ids [n] uint32, character ends in the document [n] int64) of each document."""
    texts = [d.text for d in documents]
    offsets = bool(tokenizer.is_fast)
    with _named(_rows(documents)):
        encoded = tokenizer(
            texts, truncation=False, padding=False, return_offsets_mapping=offsets, verbose=False
        )
    for i, text in enumerate(texts):
        ids = np.array(encoded["input_ids"][i], np.uint32)
        ends = np.full(len(ids), -1, np.int64)
        if offsets and len(ids):
            pairs = encoded["offset_mapping"][i]
            ends = np.fromiter((end for _, end in pairs), np.int64, len(pairs))
            ends = np.maximum.accumulate(ends)  # specials have the span (0, 0)
            ends[-1] = len(text)
        yield ids, ends


def _library_versions() -> dict[str, str]:
    """Versions of what makes ids out of text, without importing them."""
    from importlib.metadata import version

    return {name: version(name) for name in ("tokenizers", "transformers")}
