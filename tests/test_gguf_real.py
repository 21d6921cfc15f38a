"""Real GGUF files: Gemma 3's ids against SentencePiece and its loss in torch; SmolLM2's ids."""

import importlib.util
import json
import pathlib
import pydoc_data.topics

import pytest
import real_models

from jaxbpc.checkpoint import pip_model
from jaxbpc.checkpoint.gguf import reader as gguf_reader
from jaxbpc.data import tokens

pytestmark = [pytest.mark.real, pytest.mark.optimized]
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return real_models.cache_folder(tmp_path_factory)


def demo_texts(name):
    rows = (CONFIGS / "demo_corpora" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["content"] for row in rows]


def sentencepiece_of(file):
    """The library itself, on the pieces, scores and types of a GGUF file."""
    sentencepiece = pytest.importorskip(
        "sentencepiece", reason="pip install sentencepiece protobuf"
    )
    from sentencepiece import sentencepiece_model_pb2

    fields, _ = gguf_reader.read(file)
    names = ("tokens", "scores", "token_type")
    columns = [fields[f"tokenizer.ggml.{name}"] for name in names]
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    for i, (piece, score, kind) in enumerate(zip(*columns, strict=True)):
        kind = 2 if i == fields["tokenizer.ggml.unknown_token_id"] else int(kind)
        model.pieces.add(piece=piece.replace(" ", "▁"), score=float(score), type=kind)
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def test_gemma_ids(cache):
    oracle = sentencepiece_of(real_models.gemma_file(cache))
    tokenizer = tokens.load_tokenizer(real_models.gemma_folder(cache))
    texts = [text for name in ("prose", "python", "math") for text in demo_texts(name)]
    texts += list(pydoc_data.topics.topics.values())[:10]
    texts += ["I'll   pay\n\n\n\t\t1234.5 漢字 e\u0301 👍🏽\x00", " a", "a ", "", "\n", "   "]
    texts += [c * n for c in " =\n\t-" for n in range(1, 40)]
    for text in texts:
        assert tokenizer(text)["input_ids"] == [2, *oracle.encode(text)], text[:200]
    assert tokenizer("a<eos><start_of_image>b").tokens() == [
        *("<bos>", "a", "<eos>", "<start_of_image>", "b")
    ]


def test_gemma_in_torch(cache):
    torch = pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
    import transformers

    folder = real_models.gemma_folder(cache)
    model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(loaded.values())
    text = " ".join(pydoc_data.topics.topics["execmodel"].split())
    ids = torch.tensor([tokens.load_tokenizer(folder)(text)["input_ids"][:400]])
    with torch.no_grad():
        loss = model.eval()(ids, labels=ids).loss.item()
    assert 1 < loss < 4  # of 12.5 nats for a uniform model


def test_smollm2_ids(cache):
    spec = importlib.util.spec_from_file_location("demo", CONFIGS / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    tokenizer = tokens.load_tokenizer(pip_model.resolve(demo.get_config().model.path, cache))
    counts = {"prose": 3398, "python": 5028, "math": 5900}
    for name, n in counts.items():
        assert sum(len(tokenizer(text)["input_ids"]) for text in demo_texts(name)) == n
