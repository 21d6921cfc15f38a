"""Qwen 1's tokenizer from its ranks: the ids of package tiktoken, offsets, faults in the file."""

import base64
import collections
import itertools
import json
import pathlib
import random
import re
import unicodedata

import pytest
import tiny
import tokenizers

from jaxbpc.data import qwen_tokenizer, tokens
from jaxbpc.errors import InputError

N_MERGES = 600
BYTES = [bytes([i]) for i in range(256)]
# Tokens that only a wrong pattern lets come about: a piece is one digit, or ends in 'll.
ACROSS = [b"12", b"123", b"45", b"LLy", b"Ly", b"Sx", b"ex"]
CORPORA = pathlib.Path(__file__).parents[1] / "configs" / "demo_corpora"
# As published with Qwen-7B.
PAT_STR = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""  # noqa: E501
TEXTS = {
    "english": "The theorem says that there is no other; we'll see that IT'S so, you'd THEN'VE it.",
    "contractions": "x'LLy, IT'Sx, we'Rex; it'sx 'ſx",
    "digits": "In 2024, 1234567 × 89 = 3.14e10 — ½ ² ٣ 四",
    "cjk": "通义千问是一个语言模型。日本語のテキスト、한국어 문장。",
    "emoji": "🙂👩‍👩‍👧 👍🏽 flags 🇨🇭!",
    "combining": "e\u0301cole, A\u030angstro\u0308m, \u1112\u1161\u11ab, \u212b, q\u0323\u0307",
    "newlines": "a\n\n  b\r\n\tc   \n\n\n   def f(x):\n        return x  ",
    "specials": "<|im_start|>user\nHi<|im_end|>\n<|extra_0|><|extra_10|><|extra_204|><|endoftext|>",
    "near specials": "<|extra_205|> <|im_start |> <|endoftext|>\u0338 <<|im_end|>>",
    "code": "for (int i = 0; i < n; ++i) { x[i] += 'don''t'; }  // they're",
    "controls": "\x00\x1c\x7f\u0085\u00a0\u200b\u2028\ufeff",
    "one": "a",
}


def train():
    """Token → rank: the bytes, N_MERGES of byte-pair encoding on the demo's corpora, ACROSS."""
    text = "".join(path.read_text("utf-8")[:4000] for path in sorted(CORPORA.glob("*.jsonl")))
    words = collections.Counter(
        tuple(bytes([b]) for b in word.encode())
        for word in re.findall(r"\s?\w+|\s+|[^\w\s]+", "".join(TEXTS.values()) + text)
    )
    ranks = {token: i for i, token in enumerate(BYTES)}
    while len(ranks) < 256 + N_MERGES:
        pairs: collections.Counter = collections.Counter()
        for word, n in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += n
        (left, right), _ = max(pairs.items(), key=lambda item: (item[1], item[0]))
        ranks[left + right] = len(ranks)
        merged: collections.Counter = collections.Counter()
        for word, n in words.items():
            merged[join(word, left, right)] += n
        words = merged
    for token in ACROSS:
        ranks.setdefault(token, len(ranks))
    return ranks


def join(word, left, right):
    parts: list[bytes] = []
    for part in word:
        if parts and parts[-1] == left and part == right:
            parts[-1] = left + right
        else:
            parts.append(part)
    return tuple(parts)


def write(folder, ranks):
    """A folder as Qwen 1 publishes it: no tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    (folder / "qwen.tiktoken").write_text("".join(lines))
    auto = {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}
    config = {"auto_map": auto, "model_max_length": 8192, "tokenizer_class": "QWenTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def published(ranks):
    """text → ids, by the package that the published code calls."""
    package = pytest.importorskip("tiktoken")
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    specials += [f"<|extra_{i}|>" for i in range(205)]
    encoding = package.Encoding(
        "Qwen",
        pat_str=PAT_STR,
        mergeable_ranks=ranks,
        special_tokens={special: len(ranks) + i for i, special in enumerate(specials)},
    )
    return lambda text: encoding.encode(
        unicodedata.normalize("NFC", text), allowed_special="all", disallowed_special=()
    )


@pytest.fixture(scope="module")
def ranks():
    return train()


@pytest.fixture(scope="module")
def folder(ranks, tmp_path_factory):
    return write(tmp_path_factory.mktemp("qwen"), ranks)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return tokens.load_tokenizer(folder)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_ids_are_those_of_tiktoken(text, ranks, tokenizer):
    encode = published(ranks)
    for variant in (text, text * 3, text[::-1], text.upper(), f" {text}\n"):
        assert tokenizer(variant)["input_ids"] == encode(variant)


def test_ids_of_random_text(ranks, tokenizer):
    encode = published(ranks)
    pool = [*"".join(TEXTS.values()), *"    \n\n''<|>", "<|im_end|>"]
    for seed in range(300):
        text = "".join(random.Random(seed).choices(pool, k=80))
        assert tokenizer(text)["input_ids"] == encode(text), text


def test_ids_of_vocabularies_that_no_training_made(tmp_path):
    """Few letters, ranks in no order: tokens that merges never reach or reach past higher ranks."""
    for seed in range(30):
        draw = random.Random(seed)
        found = {bytes(draw.choices(b"abc", k=draw.randint(2, 6))) for _ in range(40)}
        order = [*BYTES, *sorted(found)]
        draw.shuffle(order)
        ranks = {token: i for i, token in enumerate(order)}
        tokenizer = qwen_tokenizer.convert(write(tmp_path, ranks))
        encode = published(ranks)
        for _ in range(50):
            text = "".join(draw.choices("abc", k=draw.randint(1, 40)))
            assert tokenizer.encode(text).ids == encode(text), (seed, text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_decoding_gives_the_normalised_text(text, tokenizer):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False) == (
        unicodedata.normalize("NFC", text)
    )


def test_specials(ranks, tokenizer):
    n = len(ranks)
    ids = tokenizer("a<|endoftext|><|im_start|>é<|im_end|><|extra_0|><|extra_204|>")["input_ids"]
    assert [i - n for i in ids if i >= n] == [0, 1, 2, 3, 207]
    assert ids[0] == ord("a")  # nothing stands before a document
    assert len(tokenizer) == n + 208
    # With U+0338 the last ">" is another character, and what it ends is no special.
    assert max(tokenizer("<|endoftext|>\u0338")["input_ids"]) < n


def test_offsets(tmp_path):
    """Of bytes alone. NFC joins e and the mark after it: the mark is in no token's span."""
    write(tmp_path, {token: i for i, token in enumerate(BYTES)})
    text = "né <|im_end|>中🙂e\u0301!"
    encoded = tokens.load_tokenizer(tmp_path)(text, return_offsets_mapping=True)
    spans = [(0, 1), *2 * [(1, 2)], (2, 3), (3, 13), *3 * [(13, 14)], *4 * [(14, 15)]]
    assert encoded["offset_mapping"] == [*spans, *2 * [(15, 16)], (17, 18)]


def test_stream(folder, tmp_path, ranks):
    """Through the cache: all characters are counted, and each token ends where the next begins."""
    texts = [text for name, text in TEXTS.items() if name != "controls"]
    tiny.write_corpus(tmp_path / "text.jsonl", texts)
    stream = tokens.stream(tmp_path / "text.jsonl", folder, tmp_path / "cache")
    encode = published(ranks)
    assert stream.token_ids.tolist() == [i for text in texts for i in encode(text)]
    assert stream.characters == stream.token_char_end[-1] == sum(map(len, texts))
    assert (stream.token_char_end[1:] >= stream.token_char_end[:-1]).all()
    assert len(stream.bos) == 0


def test_tokenizer_json_goes_first(folder, tmp_path):
    tiny.make_model(tmp_path / "model")
    (tmp_path / "model" / "qwen.tiktoken").write_bytes((folder / "qwen.tiktoken").read_bytes())
    assert len(tokens.load_tokenizer(tmp_path / "model")) == tiny.VOCAB


def test_the_ranks_are_in_the_fingerprint(ranks, tmp_path):
    first = tokens.tokenizer_fingerprint(write(tmp_path / "a", ranks))
    changed = dict(zip(ranks, [1, 0, *list(ranks.values())[2:]], strict=True))
    assert tokens.tokenizer_fingerprint(write(tmp_path / "b", changed)) != first


FAULTS = {
    "YQ== 97\nYg==\n": "line 2: not a base64 token and its rank",
    "YQ== 97\n\nYg== x\n": "line 3: not a base64 token and its rank",
    "Y*Q== 97\n": "line 1: not a base64 token and its rank",
    "YQ== 97\nYQ== 98\n": "line 2: an empty or repeated token or rank",
    "YQ== 97\nYg== 97\n": "line 2: an empty or repeated token or rank",
    "YQ== -1\n": "line 1: an empty or repeated token or rank",
    "YQ== 97\n": "no token for 255 of the 256 bytes",
    "": "no token for 256 of the 256 bytes",
    "version https://git-lfs.github.com/spec/v1\n": "line 1: not a base64 token and its rank",
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.items(), ids=FAULTS.values())
def test_faults_name_file_and_line(text, fault, tmp_path):
    (tmp_path / "qwen.tiktoken").write_text(text)
    with pytest.raises(InputError) as error:
        tokens.load_tokenizer(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'qwen.tiktoken'}")
    assert fault in message
    assert "\n" not in message


def test_a_missing_rank(ranks, tmp_path):
    lost = {token: rank for token, rank in ranks.items() if rank != 300}
    with pytest.raises(InputError, match="no token has rank 300"):
        qwen_tokenizer.convert(write(tmp_path, lost))


def test_specials_among_the_ranks(ranks, tmp_path):
    with pytest.raises(InputError, match="specials among its ranks"):
        qwen_tokenizer.convert(write(tmp_path, ranks | {b"<|im_end|>": len(ranks)}))


def test_an_extra_vocabulary_is_refused(ranks, tmp_path):
    write(tmp_path, ranks)
    (tmp_path / "tokenizer_config.json").write_text('{"extra_vocab_file": "more.tiktoken"}')
    with pytest.raises(InputError, match="extra_vocab_file is not supported"):
        tokens.load_tokenizer(tmp_path)


def test_the_table_of_letters_is_that_of_the_library():
    assert sorted(qwen_tokenizer._letters()) == sorted(
        tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
