"""Documents → one stream: order, BOS, character ends, the cache and its key."""

import numpy as np
import pytest
import tiny
import tokenizers

from jaxbpc.analysis import contamination
from jaxbpc.data import tokens
from jaxbpc.errors import InputError

TEXTS = ["Grüße", "", "x² = 4, 𝑥", "a"]


@pytest.fixture
def corpus(tmp_path):
    tiny.make_model(tmp_path / "model")
    tiny.write_corpus(tmp_path / "text.jsonl", TEXTS)
    return tmp_path


def make(corpus, **fields):
    return tokens.stream(corpus / "text.jsonl", corpus / "model", corpus / "cache", **fields)


def add_bos(folder):
    """Puts token 7 before each text, as many tokenizers do."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<s>"])
    index = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", index)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return index


def test_stream(corpus):
    stream = make(corpus)
    kept = [text for text in TEXTS if text]
    tokenizer = tokenizers.Tokenizer.from_file(str(corpus / "model" / "tokenizer.json"))
    assert stream.token_ids.tolist() == [i for t in kept for i in tokenizer.encode(t).ids]
    assert stream.documents[:, 0].tolist() == [0, 7, 7 + 13]
    assert stream.documents[:, 1].tolist() == [5, 9, 1]
    assert stream.documents[:, 2].tolist() == [7, 13, 1]
    assert stream.documents[:, 3].tolist() == [0, 2, 3]
    assert (stream.characters, stream.bytes, stream.empty_documents) == (15, 21, 1)
    assert len(stream.bos) == 0
    assert stream.max_id == max(stream.token_ids)


def test_character_ends(corpus):
    ends = make(corpus).token_char_end
    assert ends[:7].tolist() == [1, 2, 3, 3, 4, 4, 5]  # ü and ß are two tokens each
    assert ends[-1] == 15
    assert (np.diff(ends) >= 0).all()


@pytest.mark.parametrize("name", ["text.jsonl", "model/tokenizer_config.json"])
def test_what_changes_while_it_is_read_is_refused(corpus, monkeypatch, name):
    """Its tokens would be kept as those of what was there before."""
    want = make(corpus, template="{content} ").token_ids.tolist()
    real = tokens.load_tokenizer
    path = corpus / name
    before = path.read_bytes()

    def load_and_change(folder):
        path.write_bytes(before + b"\n")
        return real(folder)

    monkeypatch.setattr(tokens, "load_tokenizer", load_and_change)
    with pytest.raises(InputError, match="changed while it was read"):
        make(corpus)
    monkeypatch.undo()
    (kept,) = [p for p in (corpus / "cache" / "tokens").iterdir() if p.is_dir()]
    path.write_bytes(before)
    make(corpus)
    assert len([p for p in (corpus / "cache" / "tokens").iterdir() if p.is_dir()]) == 2
    assert kept.is_dir()
    assert make(corpus, template="{content} ").token_ids.tolist() == want


def test_bos_before_every_document(corpus):
    bos = add_bos(corpus / "model")
    stream = make(corpus)
    assert stream.bos.tolist() == [0, 8, 22]
    assert (np.asarray(stream.token_ids)[stream.bos] == bos).all()
    assert stream.token_char_end[stream.bos].tolist() == [0, 5, 14]
    assert contamination.n_bos(stream.token_char_end, np.asarray(stream.documents)) == 1
    assert stream.characters == 15


def test_specials_inside_of_text_are_parsed(corpus):
    bos = add_bos(corpus / "model")
    tiny.write_corpus(corpus / "text.jsonl", ["a<s>b"])
    assert make(corpus).token_ids.tolist()[2] == bos


@pytest.mark.parametrize("change", ["text", "tokenizer", "template", "samples"])
def test_key_of_the_cache(corpus, change):
    make(corpus)
    if change == "text":
        tiny.write_corpus(corpus / "text.jsonl", [*TEXTS, "b"])
    if change == "tokenizer":
        add_bos(corpus / "model")
    fields = {"template": {"template": "{content}!"}, "samples": {"samples": 1}}.get(change, {})
    calls = []
    make(corpus, progress=calls.append, **fields)
    assert calls
    make(corpus, progress=lambda n: pytest.fail("made again"), **fields)


def test_a_crash_leaves_no_half_stream(corpus, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(tokens, "_encode", fail)
        with pytest.raises(RuntimeError):
            make(corpus)
    assert make(corpus).characters == 15


@pytest.mark.parametrize("name", ["token_ids", "token_char_end", "documents", "meta.json"])
def test_a_damaged_cache_is_made_again(corpus, name, caplog):
    want = [np.array(getattr(make(corpus), field)) for field in tokens._ARRAYS]
    (path,) = (corpus / "cache").rglob(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    calls = []
    again = make(corpus, progress=calls.append)
    assert calls
    assert str(path.parent) in caplog.text
    for field, values in zip(tokens._ARRAYS, want, strict=True):
        np.testing.assert_array_equal(getattr(again, field), values)
