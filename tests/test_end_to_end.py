"""From files to results: uniform model, resume, batch sizes, meshes, bad input."""

import json
import math

import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from jaxbpc import config as config_lib
from jaxbpc import evaluate
from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.record import Record

VOCAB = 256
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
}


def make_model(folder, scale=0.1):
    """A random model with a byte-level tokenizer; scale 0 makes all logits equal."""
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    d, f, k = 32, 48, 16
    shapes = {"model.embed_tokens": (VOCAB, d), "lm_head": (VOCAB, d)}
    for layer in range(2):
        p = f"model.layers.{layer}."
        shapes |= {f"{p}self_attn.{n}_proj": (d, d) for n in "qo"}
        shapes |= {f"{p}self_attn.{n}_proj": (k, d) for n in "kv"}
        shapes |= {f"{p}mlp.gate_proj": (f, d), f"{p}mlp.up_proj": (f, d)}
        shapes |= {f"{p}mlp.down_proj": (d, f)}
        shapes |= {f"{p}{n}_layernorm": (d,) for n in ("input", "post_attention")}
    shapes["model.norm"] = (d,)
    tensors = {
        f"{name}.weight": (scale * random.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(alphabet)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


TEXTS = ["Grüße, x² = 4. " * 40, "", "def f(x):\n    return x\n" * 30]


@pytest.fixture
def run(tmp_path):
    model = make_model(tmp_path / "model")
    data = tmp_path / "data"
    data.mkdir()
    rows = [json.dumps({"content": text}, ensure_ascii=False) for text in TEXTS]
    (data / "text.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")

    def call(workdir="run", **fields):
        config = config_lib.default()
        config.model.path = str(model)
        config.data.dir = str(data)
        config.data.corpora = ("text",)
        config.window.block_size, config.window.stride = 100, 40
        config.batch_per_device = 1
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
        return evaluate.run(config, tmp_path / workdir)

    call.path = tmp_path
    return call


def test_ledger(run):
    result = run()
    text = result.corpora["text"]
    assert text.characters == sum(map(len, TEXTS))
    assert text.bytes == text.tokens == sum(len(t.encode()) for t in TEXTS)
    assert (text.documents, text.empty_documents) == (2, 1)
    assert text.scored_tokens + text.unscored_tokens == text.tokens
    assert text.bpc == text.nats / (text.characters * math.log(2))
    assert result.average_bpc == text.bpc


def test_uniform(run):
    safetensors_path = run.path / "model" / "model.safetensors"
    zeros = {k: 0 * v for k, v in safetensors.numpy.load_file(safetensors_path).items()}
    safetensors.numpy.save_file(zeros, safetensors_path)
    text = run().corpora["text"]
    assert text.nats == pytest.approx(text.scored_tokens * math.log(VOCAB), rel=1e-6)
    assert text.nats_full == pytest.approx((text.tokens - 1) * math.log(VOCAB), rel=1e-6)


def test_batches_and_meshes_agree(run):
    want = run().corpora["text"]
    for k, (batch, mesh) in enumerate([(2, (8, 1, 1)), (3, (1, 8, 1)), (1, (2, 2, 2))]):
        fields = dict(zip(("mesh__data", "mesh__fsdp", "mesh__tensor"), mesh, strict=True))
        got = run(f"run{k}", batch_per_device=batch, **fields).corpora["text"]
        assert got.bpc == pytest.approx(want.bpc, rel=1e-6)
        assert got.bpc_full == pytest.approx(want.bpc_full, rel=1e-6)


def test_resume_is_identical(run):
    want = run("whole").corpora["text"]
    first = run("stopped")
    record = Record.open(run.path / "stopped" / "text")
    record.write(500, np.full(600, np.nan, np.float32))
    record.flush()
    again = run("stopped")
    assert again.corpora["text"].nats == want.nats
    assert again.corpora["text"].nats_full == want.nats_full
    assert 0 < again.runs[-1]["windows_scored"] < first.runs[-1]["windows_scored"]
    assert run("stopped").runs[-1]["windows_scored"] == 0


def test_short_corpus(run):
    text = run(window__block_size=5000).corpora["text"]
    assert text.bpc is None
    assert text.bpc_full > 0
    assert "shorter than one window" in text.note


def test_other_settings_are_refused(run):
    run()
    with pytest.raises(InputError, match="stride differ"):
        run(window__stride=50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"content": "a"}\n{"content"', r"text\.jsonl:2: not JSON"),
        (b'{"text": "a"}\n', r"text\.jsonl:1: the row has no `content`"),
        (b'{"content": 3}\n', r"text\.jsonl:1: `content` is int"),
        (b'{"content": "\xff"}\n', r"text\.jsonl:1: not UTF-8"),
        (b'{"content": "\\ud800"}\n', r"text\.jsonl:1: the text has half a surrogate"),
        (b"[1]\n", r"text\.jsonl:1: a row is a JSON object"),
        (b"", r"text\.jsonl: no text"),
    ],
)
def test_bad_corpus(run, content, message):
    (run.path / "data" / "text.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        run()


def test_bad_models(run):
    model = run.path / "model"
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(InputError, match="truncated"):
        run()
    (model / "model.safetensors").write_bytes(weights)
    for change, message in (
        ({"model_type": "nonsense"}, "no architecture"),
        ({"vocab_size": 128}, "wrong shape"),
        ({"num_hidden_layers": 3}, "missing"),
        ({"num_hidden_layers": 1}, "extra"),
        ({"sliding_window": 64}, "sliding_window=64"),
    ):
        (model / "config.json").write_text(json.dumps(CONFIG | change))
        with pytest.raises(InputError, match=message):
            run()
    (model / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json does not exist"):
        run()


def test_bad_settings(run):
    for fields, message in (
        ({"window__stride": 0}, r"window\.stride is 0"),
        ({"mesh__data": 3}, "does not fit 8 device"),
        ({"data__corpora": ("python",)}, "jaxbpc.prepare paper"),
        ({"model__dtype": "float16"}, r"model\.dtype"),
    ):
        with pytest.raises(InputError, match=message):
            run(**fields)


def test_template_is_filled_once():
    fill = corpora.Template("{title}: {content}")
    assert fill({"title": "{content}", "content": "{title}"}, "row") == "{content}: {title}"
    assert fill({"title": "a", "content": ""}, "row") == ""
