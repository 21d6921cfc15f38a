r"""Tokenizer fields of a GGUF file → tokenizer.json with the same ids.

Two kinds. `gpt2`: byte-level BPE; a file names its pre-tokenizer alone, whose patterns stand here.
Where llama.cpp had to adapt a model's pattern to its own regular expressions (`tekken`), the
model's stands here; Qwen's own tokenizer composes characters (NFC) first.

`llama`: SentencePiece's BPE, which merges the two neighbours whose union has the highest score,
the leftmost of equals. `tokenizers` merges by a list of pairs: all pairs that make a piece, in the
order of the pieces' scores. What has no piece falls to its bytes' pieces.

Control and user-defined pieces are found in the text before anything else.
Source: `src/llama-vocab.cpp` of llama.cpp; for the order of the pairs of one piece,
`generate_merges` of Hugging Face transformers.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxbpc.errors import InputError

_FIELD = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4  # types of pieces
_SPACE = "▁"
_LONGEST = 2048  # characters of a piece; ways to cut one grow with its square

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}|{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Each pattern splits the pieces that those before it left.
PATTERNS: dict[str, tuple[str, ...]] = {
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    "gpt-2": (_GPT2,),
    "smollm": (_DIGIT, _GPT2),
    "starcoder": (_DIGIT, _GPT2),
    "refact": (_DIGIT, _GPT2),
    "llama-bpe": (_LLAMA3,),
    "llama3": (_LLAMA3,),
    "llama-v3": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "deepseek-r1-qwen": (_QWEN2,),
    "tekken": (_TEKKEN,),
    "deepseek-coder": (
        r"[\r\n]",
        r"\s?\p{L}+",
        r"\s?\p{P}+",
        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
        _DIGIT,
    ),
}
# A word that is a piece is not merged; a BOS stands before a text where the file is silent.
_WHOLE_WORDS = ("llama-bpe", "llama3", "llama-v3", "tekken")
_COMPOSED = ("qwen2",)
# Fields that are read below, or that do not change the ids of a text.
_KNOWN: tuple[str, ...] = (
    "model",
    "pre",
    "tokens",
    "scores",
    "token_type",
    "merges",
    "add_bos_token",
)
_KNOWN += ("add_eos_token", "add_space_prefix", "token_type_count", "suppress_tokens")
# Fields that change nothing where they are false or empty.
_REFUSED = ("add_sep_token", "remove_extra_whitespaces", "precompiled_charsmap")


def build(fields: Mapping[str, Any], file: pathlib.Path) -> tuple[Any, dict[str, Any]]:
    """(a `tokenizers.Tokenizer`, its tokenizer_config.json) of a GGUF file's fields.

    Raises:
      InputError: a kind, pre-tokenizer or field that is not handled; pieces that do not fit.
      KeyError, ValueError, TypeError, IndexError: a field is missing or damaged.
    """
    given = {k.removeprefix(_FIELD): v for k, v in fields.items() if k.startswith(_FIELD)}
    ids = [name for name in given if name.endswith("_token_id")]  # bos_token_id, fim_pad_token_id
    silent = [name for name in _REFUSED if not np.any(given.get(name, False))]
    unknown = sorted(given.keys() - {*_KNOWN, *ids, *silent})
    if unknown:
        raise InputError(
            f"{file}: tokenizer fields that are not handled: {', '.join(unknown)}: convert another "
            "file of this model"
        )
    pieces = [piece or f"[EMPTY_{i}]" for i, piece in enumerate(fields[f"{_FIELD}tokens"])]
    kinds = list(map(int, fields[f"{_FIELD}token_type"]))
    if len(set(pieces)) != len(pieces) or len(kinds) != len(pieces):
        raise InputError(
            f"{file}: {len(pieces)} pieces, {len(set(pieces))} of them different, and {len(kinds)} "
            "types: damaged, download it again"
        )
    if (longest := max(map(len, pieces), default=0)) > _LONGEST:
        raise InputError(f"{file}: a piece of {longest:,} characters: damaged, download it again")
    for name in ("bos", "eos", "unknown"):  # a negative one would count from the end
        if fields.get(f"{_FIELD}{name}_token_id", 0) < 0:
            raise InputError(f"{file}: {name}_token_id is negative: damaged, download it again")
    model = fields[f"{_FIELD}model"]
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if model == "gpt2":
        tokenizer, bos = _byte_level(fields, pieces, file)
    elif model == "llama":
        tokenizer, bos = _sentencepiece(fields, pieces, kinds, file), True
    else:
        raise InputError(
            f"{file}: its tokenizer is of kind {model!r}; converted are gpt2 and llama"
        )
    _add_specials(tokenizer, pieces, kinds)
    _frame(tokenizer, fields, pieces, bos)
    for name in ("bos", "eos"):
        if (index := fields.get(f"{_FIELD}{name}_token_id")) is not None:
            config[f"{name}_token"] = pieces[index]
    return tokenizer, config


def _byte_level(fields: Mapping[str, Any], pieces: Sequence[str], file: pathlib.Path):
    """(tokenizer, whether a BOS stands before a text by default)."""
    import tokenizers
    from tokenizers import decoders, normalizers, pre_tokenizers

    pre = fields[f"{_FIELD}pre"]
    if pre not in PATTERNS:
        raise InputError(
            f"{file}: its pre-tokenizer is {pre!r}; converted are {', '.join(sorted(PATTERNS))}"
        )
    # The first space that is not the begin parts a pair.
    cuts = [(pair, pair.index(" ", 1)) for pair in fields[f"{_FIELD}merges"]]
    merges = [(pair[:cut], pair[cut + 1 :]) for pair, cut in cuts]
    whole = pre in _WHOLE_WORDS
    tokenizer = _bpe(pieces, merges, ignore_merges=whole)
    if pre in _COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    splits = [pre_tokenizers.Split(tokenizers.Regex(p), "isolated") for p in PATTERNS[pre]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, whole


def _sentencepiece(
    fields: Mapping[str, Any], pieces: Sequence[str], kinds: Sequence[int], file: pathlib.Path
):
    from tokenizers import decoders, normalizers

    if absent := {f"<0x{b:02X}>" for b in range(256)} - set(pieces):
        raise InputError(
            f"{file}: {len(absent)} of 256 bytes have no piece to fall back to: convert another "
            "file of this model"
        )
    scores = dict(zip(pieces, map(float, fields[f"{_FIELD}scores"]), strict=True))
    normal = {p: scores[p] for p, kind in zip(pieces, kinds, strict=True) if kind == _NORMAL}
    unknown = fields.get(f"{_FIELD}unknown_token_id")
    tokenizer = _bpe(
        pieces,
        _merges(normal, file),
        byte_fallback=True,
        fuse_unk=True,
        unk_token=None if unknown is None else pieces[unknown],
    )
    steps: list[Any] = [normalizers.Replace(" ", _SPACE)]
    last: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if fields.get(f"{_FIELD}add_space_prefix", True):
        steps.insert(0, normalizers.Prepend(_SPACE))
        last.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(last)
    return tokenizer


def _merges(scores: Mapping[str, float], file: pathlib.Path) -> list[tuple[str, str]]:
    """All pairs of pieces whose union is a piece, those of the highest score first.

    Of equal scores the longest left piece goes first: runs of a character (Llama's spaces) then
    grow from the left, as they do in SentencePiece.

    Raises:
      InputError: other pieces of the same score, of which the leftmost in a text would go first,
        or pieces of characters that are no pieces: a list of pairs cannot say either.
    """
    pairs = []
    made: dict[float, list[str]] = {}
    for piece, score in scores.items():
        cuts = [i for i in range(1, len(piece)) if piece[:i] in scores and piece[i:] in scores]
        if cuts:
            made.setdefault(score, []).append(piece)
        pairs += [(-score, -i, i - len(piece), piece[:i], piece[i:]) for i in cuts]
    tied = (same for same in made.values() if len(same) > 1)
    ties = sum(len(same) for same in tied if any(len(set(piece)) > 1 for piece in same))
    lost = sum(len(p) > 1 and any(c not in scores for c in p) for p in scores)
    if ties or lost:
        raise InputError(
            f"{file}: {ties} pieces have the score of another, {lost} have characters that are no "
            "pieces: merges cannot give the same ids; convert another file of this model"
        )
    return [(left, right) for *_, left, right in sorted(pairs)]


def _bpe(pieces: Sequence[str], merges: list[tuple[str, str]], **options: Any):
    import tokenizers

    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    try:
        return tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges, **options))
    except Exception as e:  # the library has no class of its own: a merge of unknown pieces
        raise ValueError(str(e))


def _add_specials(tokenizer, pieces: Sequence[str], kinds: Sequence[int]) -> None:
    """Pieces that are found in the text as they stand, in two calls: each rebuilds an automaton."""
    import tokenizers

    for special, those in ((True, (_CONTROL, _UNKNOWN)), (False, (_USER_DEFINED,))):
        found = [
            tokenizers.AddedToken(piece, special=special, normalized=False)
            for piece, kind in zip(pieces, kinds, strict=True)
            if kind in those
        ]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(found)


def _frame(tokenizer, fields: Mapping[str, Any], pieces: Sequence[str], bos: bool) -> None:
    """A BOS before, an EOS after each text, where the file asks for them."""
    from tokenizers import processors

    added: list[list[tuple[str, int]]] = []
    for name, default in (("bos", bos), ("eos", False)):
        index = fields.get(f"{_FIELD}{name}_token_id")
        wanted = fields.get(f"{_FIELD}add_{name}_token", default)
        if wanted and index is None:
            raise ValueError(f"{name.upper()} is added but none is named")
        added.append([(pieces[index], index)] if wanted and index is not None else [])
    if any(added):
        first, last = ([piece for piece, _ in those] for those in added)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*first, "$A", *last], special_tokens=[*added[0], *added[1]]
        )
