"""One's own text, read by OpenCompass's rules and by ours: the same characters and token ids.

OpenCompass: `load_dataset('json')`, the first rows, then rows of empty `content` dropped; each text
by the tokenizer's defaults, ids on end.
"""

import json

import pytest
import tiny
import tokenizers
import transformers

from jaxbpc import config as config_lib
from jaxbpc.data import corpora, tokens
from jaxbpc.evaluation import loop
from jaxbpc.prepare import files

TEXTS = [
    'f"{meta} {content} {0} {{" % {}',
    "  spaces and\ttabs stay \n\n",
    "",
    "line\u2028ends\u2029of\x85all\x0bkinds\x0c\r\nand\rmore\n",
    "e\u0301 and \u00e9; \u212b and \u00c5",  # NFC makes each pair one
    "special <s> and </s> and <unk> in text<s>",
    "\ufeffa mark, \x00, \x7f, \ufffd, \ue000",
    "𝑥𝑦 👩‍👩‍👧 日本語 العربية",
    "",
    'quotes " and \\ and \\u0041 and \\n as they stand',
    "a" * 3000,
    " ",
    "\n",
    "1e400 null NaN [1, 2] {}",
    "  spaces and\ttabs stay \n\n",
]


@pytest.fixture
def model(tmp_path):
    """A tokenizer that normalises, puts a BOS before each text and knows specials."""
    folder = tiny.make_model(tmp_path / "model")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    first = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", first)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def data(tmp_path):
    """The texts as rows, through `prepare files`; it drops none but the empty ones."""
    path = tmp_path / "rows.jsonl"
    rows = [{"text": text, "title": f"t{i}" if i % 2 else None} for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    options = files.Options(exact=False)
    files.files([str(path)], tmp_path / "data", "mine", options, workers=1)
    tiny.write_corpus(tmp_path / "data" / "plain.jsonl", TEXTS)
    with open(tmp_path / "data" / "array.json", "w") as file:
        json.dump([{"content": text} for text in TEXTS], file)
    return tmp_path / "data"


def rows_of_json(path, samples):
    """Rows as the paper's evaluation reads them: a JSON object a line, or an array."""
    with open(path, encoding="utf-8", newline="\n") as file:
        rows = json.load(file) if path.suffix == ".json" else [json.loads(line) for line in file]
    return [row["content"] for row in rows][:samples]


def rows_of_datasets(path, samples, cache):
    """Rows as OpenCompass reads them."""
    import datasets

    split = "test" if samples is None else f"test[:{samples}]"
    rows = datasets.load_dataset(
        "json", data_files={"test": str(path)}, split=split, cache_dir=str(cache)
    )
    return rows.filter(lambda row: len(row["content"]) > 0)["content"]


@pytest.mark.parametrize("reader", ["json", pytest.param("datasets", marks=pytest.mark.long)])
@pytest.mark.parametrize("samples", [None, 4])
@pytest.mark.parametrize("name", ["mine", "plain", "array"])
def test_the_same_reading(model, data, tmp_path, reader, samples, name):
    path = corpora.find(data, name)
    if reader == "json":
        texts = rows_of_json(path, samples)
    else:
        texts = list(rows_of_datasets(path, samples, tmp_path / "cache"))
    texts = [text for text in texts if text]
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model))
    want = [i for text in texts for i in tokenizer(text)["input_ids"]]
    stream = tokens.stream(path, model, tmp_path / "tokens", samples)
    assert stream.characters == sum(map(len, texts))
    assert stream.bytes == sum(len(text.encode()) for text in texts)
    assert stream.token_ids.tolist() == want
    if samples is None:
        assert texts == [text for text in TEXTS if text]


@pytest.mark.long
def test_a_corpus_of_files_scores(tmp_path):
    """The interpreter's `json` package, to its last character."""
    package = json.__path__[0]
    manifest = files.files([package], tmp_path / "data", "mine", workers=1)
    config = config_lib.default()
    config.model.path = str(tiny.make_model(tmp_path / "model"))
    config.data.dir, config.data.corpora = str(tmp_path / "data"), ("mine",)
    config.window.block_size, config.window.stride = 1000, 1000
    config.model.dtype = "float32"
    got = loop.run(config, tmp_path / "run").corpora["mine"]
    assert (got.characters, got.bytes) == (manifest["characters"], manifest["bytes"])
    assert (got.documents, got.empty_documents) == (manifest["documents"], 0)
    assert got.bpc > 0
    assert got.corpus_sha256 == manifest["sha256"]
