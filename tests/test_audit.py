"""What a tokenizer loses: literal counts, first rows, and the tokens that it puts around a text."""

import pytest
import tiny
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from jaxbpc.data import tokenizer_audit, tokens

NOTHING = {
    "documents_not_restored": 0,
    "first_row_not_restored": None,
    "unknown_tokens": 0,
    "first_row_unknown": None,
    "special_tokens_in_text": 0,
    "first_row_special": None,
}


@pytest.fixture
def place(tmp_path):
    tiny.make_model(tmp_path / "model")
    return tmp_path


def change(place, **parts):
    """Saves the tokenizer with other parts; returns the id of the special token <s>."""
    path = str(place / "model" / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(path)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(path)
    return tokenizer.token_to_id("<s>")


def count(place, texts):
    tiny.write_corpus(place / "text.jsonl", texts)
    return tokens.stream(place / "text.jsonl", place / "model", place / "cache")


def around(*ids):
    special = [("<s>", ids[0]), ("</s>", ids[0] + 1)]
    return processors.TemplateProcessing(single="<s> <s> $A </s>", special_tokens=special)


def test_bytes_lose_nothing(place):
    assert count(place, [*tiny.TEXTS, "\r\n \u2028 \x00 e\u0301 日本 𝑥"]).audit == NOTHING


def test_a_tokenizer_that_changes_the_text(place):
    change(place, normalizer=normalizers.Lowercase())
    stream = count(place, ["", "a", "B", "c", "De"])
    assert stream.audit == NOTHING | {"documents_not_restored": 2, "first_row_not_restored": 2}


def test_special_tokens_in_text_but_not_around_it(place):
    first = change(place)
    change(place, post_processor=around(first))
    stream = count(place, ["a", "b<s>c</s>", "", "</s>"])
    assert stream.audit == NOTHING | {"special_tokens_in_text": 3, "first_row_special": 1}
    assert stream.bos.tolist() == [0, 1, 4, 5, 11, 12]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_what_it_does_not_know(place, kind):
    if kind == "bpe":
        model = models.BPE({"a": 0, "b": 1, "?": 2}, [], unk_token="?", fuse_unk=False)
    else:
        model = models.Unigram([("a", -1.0), ("b", -1.0), ("?", -1.0)], unk_id=2)
    change(place, model=model, pre_tokenizer=pre_tokenizers.Split("", "isolated"), decoder=None)
    tokenizer = tokens.load_tokenizer(place / "model")
    assert tokenizer_audit.unknown_id(tokenizer) == 2
    stream = count(place, ["ab", "", "axb", "yy"])
    assert stream.audit["unknown_tokens"] == 3
    assert stream.audit["first_row_unknown"] == 2
    assert stream.audit["documents_not_restored"] is None  # it has no decoder


def test_bos_of_a_tokenizer_that_drops_letters(place):
    alphabet = {piece: i for i, piece in enumerate("xyz")}
    first = change(place, model=models.BPE(alphabet, []), pre_tokenizer=None)
    change(place, post_processor=around(first))
    stream = count(place, ["abc", "xaz", "y"])
    s = first
    assert stream.token_ids.tolist() == [s, s, s + 1, s, s, 0, 2, s + 1, s, s, 1, s + 1]
    assert stream.bos.tolist() == [0, 1, 3, 4, 8, 9]
    assert stream.audit["documents_not_restored"] == 2


def test_the_audit_is_cached_with_the_tokens(place, monkeypatch):
    change(place, normalizer=normalizers.Lowercase())
    want = count(place, ["A"]).audit
    monkeypatch.setattr(tokenizer_audit, "Audit", None)
    assert count(place, ["A"]).audit == want
