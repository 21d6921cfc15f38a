"""`qwen.tiktoken` → a `tokenizers.Tokenizer` with the same ids, without remote code or tiktoken.

Qwen 1 publishes its tokenizer as lines of a base64 token and its rank, to be read by code beside it
(`tokenization_qwen.py`). That code normalises a text to NFC, cuts specials out of it, cuts the rest
into pieces by a pattern, and merges the bytes of each piece: always the neighbours whose joint
bytes have the lowest rank, the leftmost of equals. Specials have the ids after the ranks (the
published file has 151,643 ranks), are parsed wherever they stand in a text, and none is added.

`tokenizers` wants merges, pairs of tokens, instead of ranks. One pair a token is enough, and is
exact: what happens within the bytes of a token before they are joined does not depend on what
stands around them, so they are joined from the same two parts everywhere.
"""

import base64
import binascii
import pathlib

import tokenizers

from jaxbpc.errors import InputError
from jaxbpc.utils import strict_json

FILE = "qwen.tiktoken"
SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *(f"<|extra_{i}|>" for i in range(205)),
)
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LONGEST = 2048  # bytes of a token; ways to cut one grow with its square
_REMEDY = "download it again, or give another tokenizer as --config.model.tokenizer"


def convert(folder: pathlib.Path) -> tokenizers.Tokenizer:
    """The tokenizer of a folder's `qwen.tiktoken`.

    Raises:
      InputError: the file is damaged, or the folder adds a vocabulary of its own.
    """
    _refuse_extra(folder / "tokenizer_config.json")
    ranks = _read(folder / FILE)
    letters = _letters()

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if pair := _last_pair(token, ranks):
            merges.append((spell(pair[0]), spell(pair[1])))
    vocab = {spell(token): rank for token, rank in ranks.items()}
    # A piece that is itself a token is that token, whether or not merges lead to it.
    model = tokenizers.models.BPE(vocab, merges, ignore_merges=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(_PATTERN), behavior="isolated")
    to_letters = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, to_letters])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    # Specials are sought in the normalised text: a combining mark may join their last ">".
    tokenizer.add_special_tokens([tokenizers.AddedToken(s, normalized=True) for s in SPECIALS])
    if tokenizer.get_vocab_size() != len(ranks) + len(SPECIALS):
        raise InputError(f"{folder / FILE}: has specials among its ranks: {_REMEDY}")
    return tokenizer


def _refuse_extra(path: pathlib.Path) -> None:
    """An `extra_vocab_file` in tokenizer_config.json would change ids."""
    config = strict_json.json_file(path, _REMEDY) if path.is_file() else {}
    if config.get("extra_vocab_file"):
        raise InputError(
            f"{path}: extra_vocab_file is not supported: save the tokenizer as tokenizer.json"
        )


def _read(path: pathlib.Path) -> dict[bytes, int]:
    """Token → rank, of a file whose ranks are 0, 1, … in any order."""
    lines = strict_json.small_file(path, _REMEDY).splitlines()
    ranks: dict[bytes, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            text, digits = line.split()
            token, rank = base64.b64decode(text, validate=True), int(digits)
        except (ValueError, binascii.Error):
            raise InputError(f"{path}, line {number}: not a base64 token and its rank: {_REMEDY}")
        if not token or rank < 0 or token in ranks or rank in seen:
            raise InputError(
                f"{path}, line {number}: an empty or repeated token or rank: {_REMEDY}"
            )
        if len(token) > _LONGEST:
            raise InputError(f"{path}, line {number}: a token of {len(token):,} bytes: {_REMEDY}")
        ranks[token] = rank
        seen.add(rank)
    if lost := {bytes([byte]) for byte in range(256)} - ranks.keys():
        raise InputError(f"{path}: no token for {len(lost)} of the 256 bytes: {_REMEDY}")
    if max(seen) != len(seen) - 1:
        absent = next(rank for rank in range(len(seen)) if rank not in seen)
        raise InputError(f"{path}: no token has rank {absent}: {_REMEDY}")
    return ranks


def _last_pair(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that `token` is joined from; None if merging its bytes never leads to two."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        best, at = len(ranks), -1
        for i in range(len(parts) - 1):
            rank = ranks.get(parts[i] + parts[i + 1], best)
            if rank < best:
                best, at = rank, i
        if at < 0:
            return None
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def _letters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
