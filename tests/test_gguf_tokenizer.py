"""Tokenizers of GGUF files: pre-tokenizers, SentencePiece's merging by score, specials, BOS."""

import itertools

import gguf_files
import numpy as np
import pytest

from jaxbpc.checkpoint.gguf import tokenizer as gguf_tokenizer
from jaxbpc.errors import InputError

TEXT = "I'll pay 1234.5 TODAY'S\n\n  camelCase = 漢字 7½👍🏽\r\n"
WORDS = {
    "gpt-2": "I|'ll| pay| 1234|.|5| TODAY|'|S|\n\n | camelCase| =| 漢字| 7½|👍🏽|\r\n",
    "smollm": "I|'ll| pay| |1|2|3|4|.|5| TODAY|'|S|\n\n | camelCase| =| 漢字| |7|½|👍🏽|\r\n",
    "llama-bpe": "I|'ll| pay| |123|4|.|5| TODAY|'S|\n\n| | camelCase| =| 漢字| |7½|👍🏽\r\n",
    "qwen2": "I|'ll| pay| |1|2|3|4|.|5| TODAY|'S|\n\n| | camelCase| =| 漢字| |7|½|👍🏽\r\n",
    "tekken": "I|'ll| pay| |1|2|3|4|.|5| TODAY|'S|\n\n| | camel|Case| =| 漢字| |7|½|👍🏽\r\n",
    "default": "I|'|ll| pay| |123|4|.|5| TODAY|'|S|\n\n | camelCase| |=| 漢字| |7½|👍🏽|\r\n",
    "deepseek-coder": "I|'|ll| pay| |1|2|3|4|.|5| TODAY|'|S|\n|\n| | camelCase| =| |漢字| |7|½"
    "|👍🏽|\r|\n",
}
WORDS |= {"starcoder": WORDS["smollm"], "refact": WORDS["smollm"]}
WORDS |= {"llama3": WORDS["llama-bpe"], "llama-v3": WORDS["llama-bpe"]}
WORDS |= {"deepseek-r1-qwen": WORDS["qwen2"]}


def byte_level(pre="gpt-2", pieces=("he", "the"), merges=("h e", "t he"), kinds=(1, 1), **fields):
    """A tokenizer of the 256 bytes and `pieces` of `kinds`."""
    given = {
        "model": "gpt2",
        "pre": pre,
        "tokens": [*gguf_files.ALPHABET, *pieces],
        "token_type": np.array([1] * 256 + list(kinds)),
        "merges": list(merges),
        **fields,
    }
    return build(given)[0]


def build(given):
    fields = {f"tokenizer.ggml.{name}": value for name, value in given.items()}
    return gguf_tokenizer.build(fields, "file.gguf")


@pytest.mark.parametrize("pre", sorted(gguf_tokenizer.PATTERNS))
def test_words(pre):
    words = byte_level(pre, bos_token_id=0).pre_tokenizer.pre_tokenize_str(TEXT)
    assert [TEXT[begin:end] for _, (begin, end) in words] == WORDS[pre].split("|")


@pytest.mark.parametrize("pre", sorted(gguf_tokenizer.PATTERNS))
def test_every_byte_comes_back(pre):
    tokenizer = byte_level(pre, add_bos_token=False)
    assert tokenizer.decode(tokenizer.encode(TEXT).ids) == TEXT


def test_merges_and_whole_words():
    assert byte_level().encode("the").tokens == ["the"]
    # No pair makes "xyz": only where whole words are looked up first is it found.
    pieces = {"pieces": ("he", "the", "xyz"), "kinds": (1, 1, 1)}
    assert byte_level("gpt-2", **pieces).encode("xyz").tokens == ["x", "y", "z"]
    whole = byte_level("llama-bpe", **pieces, add_bos_token=False)
    assert whole.encode("xyz").tokens == ["xyz"]


def test_qwen_composes_characters():
    assert byte_level("qwen2").encode("e\u0301").ids == byte_level("qwen2").encode("é").ids
    assert len(byte_level("deepseek-r1-qwen").encode("e\u0301").ids) == 3


def test_specials_and_ends():
    pieces = {"pieces": ("<s>", "</s>", "\n\n", "\n"), "merges": [], "kinds": (3, 3, 4, 4)}
    plain = byte_level(**pieces, bos_token_id=256, eos_token_id=257)
    assert plain.encode("a\n\n\nb</s>").tokens == ["a", "\n\n", "\n", "b", "</s>"]
    framed = byte_level(
        **pieces, bos_token_id=256, eos_token_id=257, add_bos_token=True, add_eos_token=True
    )
    assert framed.encode("a").tokens == ["<s>", "a", "</s>"]
    assert framed.encode("a", add_special_tokens=False).tokens == ["a"]
    # Llama 3's files may be silent about their BOS.
    assert byte_level("llama-bpe", **pieces, bos_token_id=256).encode("a").tokens == ["<s>", "a"]


PIECES = ["▁a", "ab", "▁ab", "aba", "abab", "ba", "bab", "▁b", "▁▁", "▁▁▁", "▁▁▁▁", "aa", "aaa"]
PIECES += ["aaaa", "bb", "éa", "aé", "ca", "ac", "cab", "▁ca", "▁cab", "bca", "bcab"]
SINGLE = ["▁", "a", "b", "c", "é"]


def scored(seed=None, defined=("\n\n",), **fields):
    """(tokenizer, pieces → scores) of SentencePiece's kind; the scores of `seed`, all different."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *PIECES, *SINGLE]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(PIECES) + len(SINGLE))
    pieces, kinds = [*pieces, *defined], kinds + [4] * len(defined)
    order = np.arange(len(pieces))
    if seed is not None:
        np.random.RandomState(seed).shuffle(order)
    given = {
        "model": "llama",
        "tokens": pieces,
        "token_type": np.array(kinds),
        "scores": -order.astype(np.float32),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        **fields,
    }
    normal = {p: s for p, s, k in zip(pieces, given["scores"], kinds, strict=True) if k == 1}
    return build(given)[0], normal


def merged_by_scores(text, scores):
    """SentencePiece's BPE, written plainly: the highest score first, the leftmost of equals."""
    symbols = list(text.replace(" ", "▁"))
    while True:
        unions = [left + right for left, right in itertools.pairwise(symbols)]
        known = [(-scores[union], i) for i, union in enumerate(unions) if union in scores]
        if not known:
            break
        _, i = min(known)
        symbols[i : i + 2] = [unions[i]]
    tokens = []
    for symbol in symbols:
        fallen = [f"<0x{byte:02X}>" for byte in symbol.encode()]
        tokens += [symbol] if symbol in scores else fallen
    return tokens


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("prefix", [True, False])
def test_merging_by_score(seed, prefix):
    tokenizer, scores = scored(seed, add_space_prefix=prefix)
    random = np.random.RandomState(seed)
    for _ in range(200):
        text = "".join(random.choice(list("aaabbc  é漢x"), random.randint(1, 30)))
        want = merged_by_scores(" " * prefix + text, scores)
        assert tokenizer.encode(text).tokens == ["<s>", *want], text


def test_runs_of_spaces_of_one_score_grow_from_the_left():
    """Llama's runs of spaces all have the score -1e9; of 15 there is no piece."""
    runs = ["▁" * n for n in range(2, 17) if n != 15]
    pieces = [*(f"<0x{b:02X}>" for b in range(256)), "▁", *runs]
    kinds = [6] * 256 + [1] * (1 + len(runs))
    scores = np.array([0.0] * 257 + [-1e9] * len(runs), np.float32)
    given = {"tokens": pieces, "token_type": np.array(kinds), "scores": scores}
    given |= {"model": "llama", "add_bos_token": False, "add_space_prefix": False}
    tokenizer, known = build(given)[0], dict(zip(pieces, scores, strict=True))
    for n in range(1, 70):
        assert tokenizer.encode(" " * n).tokens == merged_by_scores(" " * n, known)


def test_sentencepiece_frame():
    tokenizer, _ = scored()
    assert tokenizer.encode("a").tokens == ["<s>", "▁a"]
    assert tokenizer.encode("").tokens == ["<s>"]
    assert tokenizer.encode("漢").tokens == ["<s>", "▁", "<0xE6>", "<0xBC>", "<0xA2>"]
    # A space stands before the text behind a special, as in llama.cpp.
    assert tokenizer.encode("b\n\nb</s>").tokens == ["<s>", "▁b", "\n\n", "▁b", "</s>"]
    bare, _ = scored(defined=("  ",), add_space_prefix=False, add_bos_token=False)
    assert bare.encode("a  a b").tokens == ["a", "  ", "a", "▁b"]
    for those in (tokenizer, bare):
        assert those.decode(those.encode("a ab 漢 é").ids) == "a ab 漢 é"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pre": "nonsense"}, "pre-tokenizer is 'nonsense'"),
        ({"model": "t5"}, "kind 't5'"),
        ({"add_sep_token": True}, "add_sep_token"),
        ({"remove_extra_whitespaces": True}, "remove_extra_whitespaces"),
        ({"precompiled_charsmap": np.ones(9)}, "precompiled_charsmap"),
        ({"normalizer.lowercase": True}, "normalizer.lowercase"),
        ({"tokens": ["a", "a"]}, "2 pieces, 1 of them different"),
        ({"token_type": np.ones(3)}, "3 types"),
    ],
)
def test_refused(given, message):
    fields = {"tokens": ["a"], "token_type": np.ones(1), "merges": ["a a"]}
    with pytest.raises(InputError, match=message):
        build({"model": "gpt2", "pre": "gpt-2"} | fields | given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["scores"].fill(0), "pieces have the score of another"),
        (lambda f: f["tokens"].__setitem__(-1, "zz"), "1 have characters that are no pieces"),
        (lambda f: f["tokens"].__setitem__(7, "<0x0G>"), "1 of 256 bytes have no piece"),
    ],
)
def test_refused_pieces(change, message):
    pieces = [*(f"<0x{b:02X}>" for b in range(256)), *SINGLE, *PIECES]
    scores = -np.arange(len(pieces), dtype=np.float32)
    kinds = [6] * 256 + [1] * (len(pieces) - 256)
    given = {"model": "llama", "tokens": pieces, "scores": scores, "token_type": np.array(kinds)}
    change(given)
    with pytest.raises(InputError, match=message):
        build(given | {"add_bos_token": False})
