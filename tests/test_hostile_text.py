"""Tokenizers and corpora of strangers, as `test_hostile.py` has models."""

import base64
import json
import pathlib

import pytest
import tiny
from hostile import peak_mib, sparse

from jaxbpc.checkpoint.gguf import tokenizer as gguf_tokenizer
from jaxbpc.data import corpora, tokens

LIMIT = 1000  # characters of a document


# Tokenizers.


def parts(**fields):
    """tokenizer.json of the good model, with other parts."""

    def make(good):
        tokenizer = json.loads(good)
        model = fields.pop("model", {})
        return json.dumps(tokenizer | fields | {"model": tokenizer["model"] | model}).encode()

    return make


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replace(pattern, by):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}


def begin(index):
    special = {"<s>": {"id": "<s>", "ids": [index], "tokens": ["<s>"]}} if index else {}
    pieces = [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    return {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": pieces,
        "special_tokens": special,
    }


def lines(ids):
    pairs = [(base64.b64encode(bytes([byte])).decode(), i) for byte, i in enumerate(ids)]
    return "".join(f"{token} {i}\n" for token, i in pairs).encode()


CHARSMAP = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
TOKENIZER = {
    "garbage": b"\0\xff\0",
    "empty": b"",
    "no parts": b"{}",
    "a list": b"[]",
    "deep nesting": b"[" * 100_000,
    "no model": parts(model={"type": "Odd"}),
    "no vocabulary": parts(model={"vocab": {}}),
    "negative ids": parts(model={"vocab": {"a": -1}}),
    "ids of 64 bits": parts(model={"vocab": {"a": 2**40}}),
    "merges of no pieces": parts(model={"merges": [["no", "piece"]]}),
    "merges that are none": parts(model={"merges": ["a"]}),
    "an unknown piece that is absent": parts(model={"vocab": {"a": 0}, "unk_token": "<unk>"}),
    "no regular expression": parts(pre_tokenizer=split("(")),
    "an unknown step": parts(pre_tokenizer={"type": "Exec", "command": "true"}),
    "a table that panics": parts(normalizer=CHARSMAP),
    "a template that panics": parts(post_processor=begin(None)),
    "a replacement that panics": parts(normalizer=replace("", "aaaaaaaaaaaa")),
    "a million tokens before a text": parts(normalizer={"type": "Prepend", "prepend": "a" * 10**6}),
    "a million tokens for a letter": parts(normalizer=replace("[aeiou]", "a" * 10**5)),
}


def tokenizer_folder(good_model, tmp_path, files):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name, content in files.items():
        good = (good_model / "tokenizer.json").read_bytes()
        (folder / name).write_bytes(content(good) if callable(content) else content)
    tiny.write_corpus(tmp_path / "text.jsonl", ["some text", "Grüße"])
    return lambda: tokens.stream(tmp_path / "text.jsonl", folder, tmp_path / "cache")


@pytest.mark.parametrize("case", TOKENIZER)
def test_tokenizer(refused, good_model, tmp_path, case):
    files = {"tokenizer.json": TOKENIZER[case], "tokenizer_config.json": b"{}"}
    call = tokenizer_folder(good_model, tmp_path, files)
    before = peak_mib()
    refused(call, "tokenizer", "--config.model.tokenizer")
    assert peak_mib() < before + 600


TOKENIZER_FILES = {
    "garbage settings": {"tokenizer_config.json": b"{"},
    "settings that are a list": {"tokenizer_config.json": b"[1]"},
    "a number for BOS": {"tokenizer_config.json": b'{"bos_token": 5}'},
    "settings alone": {"tokenizer.json": None},
    "a SentencePiece model of garbage": {
        "tokenizer.json": None,
        "tokenizer.model": b"\x0a\xff\xff\xff\xff\x0f",
        "tokenizer_config.json": b'{"tokenizer_class": "LlamaTokenizer"}',
    },
    "ranks that are no numbers": {"tokenizer.json": None, "qwen.tiktoken": b"YQ== x\n"},
    "a rank of 10^9": {
        "tokenizer.json": None,
        "qwen.tiktoken": lines([10**9, *range(1, 256)]),
    },
    "a token of a megabyte": {
        "tokenizer.json": None,
        "qwen.tiktoken": base64.b64encode(bytes(10**6)) + b" 0\n",
    },
    "an absent byte": {"tokenizer.json": None, "qwen.tiktoken": lines(range(200))},
}


# transformers' class for it takes seconds to import.
_LONG = {"a SentencePiece model of garbage": pytest.mark.long}


@pytest.mark.parametrize("case", [pytest.param(c, marks=_LONG.get(c, ())) for c in TOKENIZER_FILES])
def test_files_of_a_tokenizer(refused, good_model, tmp_path, case):
    files = {"tokenizer.json": lambda good: good, "tokenizer_config.json": b"{}"}
    files |= TOKENIZER_FILES[case]
    call = tokenizer_folder(good_model, tmp_path, {k: v for k, v in files.items() if v is not None})
    refused(call, f"{tmp_path}/tokenizer", "--config.model.tokenizer")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"tokens": ["a" * 10**6]}, "a piece of 1,000,000 characters"),
        ({"bos_token_id": -1}, "bos_token_id is negative"),
    ],
)
def test_fields_of_gguf(refused, given, word):
    fields = {"model": "gpt2", "pre": "gpt-2", "tokens": ["a"], "token_type": [1], "merges": []}
    named = {f"tokenizer.ggml.{name}": value for name, value in (fields | given).items()}
    refused(lambda: gguf_tokenizer.build(named, pathlib.Path("a.gguf")), "a.gguf", word)


def test_a_tokenizer_without_end(refused, tmp_path):
    sparse(tmp_path / "tokenizer.json", b"{", 1 << 40)
    refused(lambda: tokens.tokenizer_fingerprint(tmp_path), "tokenizer.json", "256 MiB")


def test_special_ids_of_billions_take_no_memory(good_model, tmp_path):
    special = {"id": 4_000_000_000, "content": "s", "special": True, "normalized": False}
    special |= {"single_word": False, "lstrip": False, "rstrip": False}
    make = {"tokenizer.json": parts(added_tokens=[special]), "tokenizer_config.json": b"{}"}
    call = tokenizer_folder(good_model, tmp_path, make)
    before = peak_mib()
    assert call().audit["special_tokens_in_text"] == 1
    assert peak_mib() < before + 100


# Corpora.

CORPUS = {
    "not JSON": (b"content\n", ":1: not JSON"),
    "a list": (b'{"content": "a"}\n["content"]\n', ":2: a row is a JSON object"),
    "null": (b"null\n", ":1: a row is a JSON object"),
    "content that is null": (b'{"content": null}\n', ":1: `content` is NoneType"),
    "content that is a list": (b'{"content": ["a"]}\n', ":1: `content` is list"),
    "a key twice": (b'{"content": "a", "content": "b"}\n', ":1: cannot be read as JSON"),
    "deep nesting": (b'{"content": ' + b"[" * 100_000, ":1: "),
    "deep objects": (b'{"content":' * 50_000, ":1: "),
    "NUL": (b'{"content": "\0"}\n', ":1: not JSON"),
    "a file of NULs": (bytes(5000), ":1: "),
    "half a surrogate pair": (b'{"content": "\\ud83d"}\n', ":1: the text has half a surrogate"),
    "the wrong half first": (b'{"content": "\\udc00\\ud800"}\n', ":1: the text has half"),
    "half a pair as a subset": (
        b'{"content": "a", "subset": "\\ud800"}\n',
        ":1: the text has half",
    ),
    "surrogates in UTF-8": (b'{"content": "\xed\xa0\x80"}\n', ":1: not UTF-8"),
    "UTF-16": ('{"content": "a"}\n'.encode("utf-16"), ":1: not UTF-8"),
    "UTF-16 without a mark": ('{"content": "a"}\n'.encode("utf-16-le"), ":1: not JSON"),
    "UTF-32": ('{"content": "a"}\n'.encode("utf-32"), ":1: not UTF-8"),
    "a mark within": (b'{"content": "a"}\n\xef\xbb\xbf{"content": "b"}\n', ":2: not JSON"),
    "ends of an old Mac": (b'{"content": "a"}\r{"content": "b"}\r', ":1: not JSON"),
    "a cut last line": (b'{"content": "a"}\r\n{"content": "b', ":2: not JSON"),
    "two rows a line": (b'{"content": "a"} {"content": "b"}\n', ":1: not JSON"),
    "a number of 5,000 digits": (b'{"content": ' + b"9" * 5000 + b"}", ":1: "),
    "compressed": (b"\x1f\x8b\x08\x00" + bytes(range(128, 256)), ":1: not UTF-8"),
    "a document above the limit": (
        b'{"content": "a"}\n{"content": "' + b"a" * 1001 + b'"}\n',
        ":2: the document has 1,001 characters, more than config.data.max_document_characters",
    ),
    "a row above the limit": (
        b'{"content": "a"}\n{"content": "a", "x": "' + b"x" * 2_000_000 + b'"}\n',
        ":2: the row has more than 1,060,576 bytes",
    ),
    "an array that is cut": (b'[{"content": "a"}', "ends where ']' must"),
    "an array with a comma too many": (b'[{"content": "a"},]', ":2: not JSON"),
    "an array without commas": (b'[{"content": "a"} {"content": "b"}]', "where ']' must"),
    "more after an array": (b'[{"content": "a"}] []', "after the end of its array"),
    "an array of arrays": (b"[[[[]]]]", ":1: a row is a JSON object"),
    "an array in deep nesting": (b"[" * 100_000, ":1: "),
    "an array that is no UTF-8": (b'[{"content": "\xff"}]', "not UTF-8 (byte 14"),
    "an array's row above the limit": (b'[{"x": "' + b"x" * 3_000_000 + b'"}]', ":1: the row has"),
}


@pytest.mark.parametrize("case", CORPUS)
def test_corpus(refused, tmp_path, case):
    content, words = CORPUS[case]
    path = tmp_path / "text.jsonl"
    path.write_bytes(content)
    refused(lambda: list(corpora.documents(path, most_characters=LIMIT)), str(path), words)


RIGHT = {
    "a mark, both kinds of line ends, blank lines": (
        b'\xef\xbb\xbf{"content": "a"}\r\n\n \t\r\n{"content": "b"}\n{"content": "c"}',
        ["a", "b", "c"],
    ),
    "escapes": (b'{"content": "\\u0000\\ud835\\udc65\\u2028"}\n', ["\0\U0001d465\u2028"]),
    "a document at the limit": (
        b'{"content": "' + b"\\ud835\\udc65" * LIMIT + b'"}',
        ["\U0001d465" * LIMIT],
    ),
    "numbers that JSON lacks": (b'{"content": "a", "x": NaN, "y": -Infinity}', ["a"]),
    "an array over many pieces": (
        b"[" + b" " * 3_000_000 + b",\n".join([b'{"content": "\xc3\xbc"}'] * 60_000) + b"]\n",
        ["ü"] * 60_000,
    ),
    "an empty array": (b"\xef\xbb\xbf [ ] \n", []),
}


@pytest.mark.parametrize("case", RIGHT)
def test_unusual_corpora_that_are_right(tmp_path, case):
    content, texts = RIGHT[case]
    (tmp_path / "text.jsonl").write_bytes(content)
    found = corpora.documents(tmp_path / "text.jsonl", most_characters=LIMIT)
    assert [d.text for d in found] == texts


@pytest.mark.parametrize("begin", [b'{"content": "', b'[{"content": "', b"[1", b" "])
def test_a_line_without_end(refused, tmp_path, begin):
    """A terabyte of NULs, of which a megabyte is read."""
    sparse(tmp_path / "text.jsonl", b'{"content": "a"}\n' * (begin[:1] == b"{") + begin, 1 << 40)
    before = peak_mib()
    call = lambda: list(corpora.documents(tmp_path / "text.jsonl", most_characters=LIMIT))  # noqa: E731
    refused(call, f"text.jsonl:{2 if begin[:1] == b'{' else 1}: ")
    assert peak_mib() < before + 100


@pytest.mark.long
def test_subsets_without_end(refused, good_model, tmp_path):
    path = tmp_path / "text.jsonl"

    def call():
        tokens.stream(path, good_model, tmp_path / "cache")

    path.write_text("".join(f'{{"content": "a", "subset": "{i}"}}\n' for i in range(10_001)))
    refused(call, str(path), "row 10000", "subset")
    path.write_text(json.dumps({"content": "a", "subset": "s" * 1000}))
    refused(call, str(path), "row 0", "subset")
