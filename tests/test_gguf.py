"""GGUF files → Hugging Face folders: tensors, configs, every quantisation, and what is refused."""

import contextlib
import json
import struct

import gguf
import gguf_files
import numpy as np
import pytest
import safetensors.numpy

from jaxbpc.checkpoint.gguf import convert as converter
from jaxbpc.checkpoint.gguf import reader as gguf_reader
from jaxbpc.errors import InputError

CONFIGS = gguf_files.CONFIGS
LLAMA = CONFIGS["llama"]
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"rope_type": "llama3", "original_max_position_embeddings": 8192}


def linear(factor):
    def add(writer):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(factor)

    return add


def yarn(writer):
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(16)
    writer.add_rope_scaling_yarn_beta_fast(16.0)


def llama3(theta=500000.0, head=16, low=1.0):
    """Divisors of RoPE's frequencies as Llama 3.1's code makes them, one by one."""
    divisors = []
    for i in range(0, head, 2):
        wavelength = 2 * np.pi * theta ** (i / head)
        smooth = (8192 / wavelength - low) / (4.0 - low)
        middle = 1 / ((1 - smooth) / 8.0 + smooth)
        short, long = wavelength < 8192 / 4.0, wavelength > 8192 / low
        divisors.append(1.0 if short else 8.0 if long else middle)
    return np.array(divisors, np.float32)


# Name: architecture, config, how the file's fields say what differs.
CASES = {name: (name, config, []) for name, config in CONFIGS.items()}
CASES["biases"] = ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True}, [])
CASES["linear"] = (
    "llama",
    LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 2.5}},
    [linear(2.5)],
)
CASES["yarn"] = (
    "qwen2",
    CONFIGS["qwen2"]
    | {
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "beta_fast": 16.0,
            "beta_slow": 1.0,
        }
    },
    [yarn],
)
CASES["llama3"] = (
    "llama",
    LLAMA | {"head_dim": 16, "rope_theta": 500000.0, "rope_scaling": LLAMA3},
    [lambda writer: writer.add_tensor("rope_freqs.weight", llama3())],
)
CASES["ones"] = (
    "llama",
    LLAMA,
    [lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(4, np.float32))],
)
CASES["gemma3-4b"] = (
    "gemma3",
    CONFIGS["gemma3"] | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    [linear(8.0)],
)
CASES["gemma3-27b"] = (
    "gemma3",
    CONFIGS["gemma3"]
    | {"num_hidden_layers": 62, "query_pre_attn_scalar": 8}
    | {
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10
        + ["sliding_attention"] * 2
    },
    [],
)


@pytest.mark.smoke
@pytest.mark.parametrize("case", CASES)
def test_there_and_back(tmp_path, case):
    architecture, config, fields = CASES[case]
    tensors = gguf_files.random_tensors(config)
    file = gguf_files.write(tmp_path / "a.gguf", architecture, config, tensors, fields=fields)
    converter.convert(file, tmp_path / "out")
    got = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    assert got.keys() == tensors.keys()
    for name, values in tensors.items():
        atol = 2e-7 if architecture == "gemma3" and name.endswith("norm.weight") else 0
        np.testing.assert_allclose(got[name], values, rtol=0, atol=atol, err_msg=name)
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == config | {
        "dtype": "float32"
    }


@pytest.mark.parametrize("case", [case for case in CASES if case != "gemma3-27b"])
def test_torch_opens_the_folder(tmp_path, case):
    torch = pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
    import transformers

    architecture, config, fields = CASES[case]
    tensors = gguf_files.random_tensors(config)
    file = gguf_files.write(tmp_path / "a.gguf", architecture, config, tensors, fields=fields)
    converter.convert(file, tmp_path / "out")
    logits = []
    for folder in (tmp_path / "out", gguf_files.save(tmp_path / "want", config, tensors)):
        model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
        assert type(model).__name__ == config["architectures"][0]
        assert not any(loaded.values()), loaded
        with torch.no_grad():
            logits.append(model.eval()(torch.arange(40)[None]).logits)
    torch.testing.assert_close(*logits, rtol=0, atol=2e-5)


WIDE = LLAMA | {"num_hidden_layers": 1, "hidden_size": 256, "intermediate_size": 256}
WIDE |= {"head_dim": 64}


def kinds(call, *arguments):
    """The GGML types that the `gguf` package can do `call` with."""
    found = []
    for kind in gguf.GGMLQuantizationType:
        try:
            call(*arguments, kind) if arguments else call(kind)
        except NotImplementedError:
            continue
        found.append(kind)
    return found


def dequantized(kind):
    gguf.quants.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)


QUANTIZED = kinds(gguf.quants.quantize, np.zeros((1, 256), np.float32))
READABLE = kinds(dequantized)


def test_there_are_types_to_test():
    names = {kind.name for kind in READABLE}
    assert names >= {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}
    assert names >= {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"}


@pytest.mark.parametrize("kind", QUANTIZED, ids=lambda kind: kind.name)
def test_quantized_values(tmp_path, kind):
    names = ["blk.0.attn_q.weight", "blk.0.ffn_down.weight", "token_embd.weight"]
    tensors = gguf_files.random_tensors(WIDE)
    file = gguf_files.write(
        tmp_path / "a.gguf", "llama", WIDE, tensors, kinds=dict.fromkeys(names, kind)
    )
    converter.convert(file, tmp_path / "out")
    got = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    stored = gguf_files.stored_tensors("llama", WIDE, tensors)
    want = {
        name: gguf.quants.dequantize(gguf.quants.quantize(stored[name], kind), kind)
        for name in names
    }
    np.testing.assert_array_equal(got["model.embed_tokens.weight"], want[names[2]])
    np.testing.assert_array_equal(got["model.layers.0.mlp.down_proj.weight"], want[names[1]])
    # Of each head, the even rows are the first half.
    heads = want[names[0]].reshape(4, 64, 256)
    rows = np.concatenate([heads[:, 0::2], heads[:, 1::2]], axis=1).reshape(256, 256)
    np.testing.assert_array_equal(got["model.layers.0.self_attn.q_proj.weight"], rows)


@pytest.mark.parametrize("kind", sorted(set(READABLE) - set(QUANTIZED)), ids=lambda kind: kind.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # random scales are infinite, too
def test_random_blocks(tmp_path, kind):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = np.random.RandomState(0).randint(0, 256, (256, 256 // block * size)).astype(np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    gguf_files.add_fields(writer, WIDE)
    gguf_files.add_byte_level(writer)
    for name, values in gguf_files.stored_tensors(
        "llama", WIDE, gguf_files.random_tensors(WIDE)
    ).items():
        if name == "blk.0.ffn_up.weight":
            writer.add_tensor(name, data, raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    gguf_files.finish(writer)
    converter.convert(tmp_path / "a.gguf", tmp_path / "out")
    got = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    want = gguf.quants.dequantize(data, kind)
    np.testing.assert_array_equal(got["model.layers.0.mlp.up_proj.weight"], want)


def test_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(converter, "_SHARD", 20_000)
    monkeypatch.setattr(gguf_reader, "_CHUNK", 100)  # elements: some rows at a time
    tensors = gguf_files.random_tensors(LLAMA)
    file = gguf_files.write(tmp_path / "a.gguf", "llama", LLAMA, tensors)
    converter.convert(file, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == tensors.keys()
    assert index["metadata"]["total_size"] == sum(4 * v.size for v in tensors.values())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 3
    assert files == sorted(p.name for p in (tmp_path / "out").glob("*.safetensors"))
    for name in files:
        for tensor, values in safetensors.numpy.load_file(tmp_path / "out" / name).items():
            assert index["weight_map"][tensor] == name
            np.testing.assert_array_equal(values, tensors[tensor])


def refused(tmp_path, message, architecture="llama", config=LLAMA, tensors=None, **options):
    tensors = tensors or gguf_files.random_tensors(config)
    file = gguf_files.write(tmp_path / "a.gguf", architecture, config, tensors, **options)
    with pytest.raises(InputError, match=message) as e:
        converter.convert(file, tmp_path / "out")
    assert str(file) in str(e.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def a_tensor(name):
    return lambda writer: writer.add_tensor(name, np.full(4, 2, np.float32))


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda w: w.add_expert_count(8), "expert_count=8"),
        (lambda w: w.add_logit_scale(0.1), "logit_scale=0.1"),
        (lambda w: w.add_causal_attention(False), "attention.causal=False"),
        (lambda w: w.add_rope_dimension_count(4), "rope.dimension_count` is 4, handled is 8"),
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE), "longrope"),
        (lambda w: w.add_rope_scaling_attn_factors(0.5), "attn_factor=0.5"),
        (lambda w: w.add_uint16("split.count", 3), "one of 3 parts"),
        (a_tensor("rope_freqs.weight"), "not those of Llama 3.1"),
        (a_tensor("blk.0.attn_q_norm.weight"), "does not know: blk.N.attn_q_norm.weight"),
        (a_tensor("blk.2.attn_q.weight"), "does not know: blk.N.attn_q.weight"),
        (a_tensor("blk.0.attn_q.bias"), "missing: blk.N.attn_k.bias, blk.N.attn_output.bias"),
    ],
)
def test_what_could_change_the_model_is_refused(tmp_path, add, message):
    refused(tmp_path, message, fields=[add])


def test_all_faults_in_one_error(tmp_path):
    fields = [lambda w: w.add_expert_count(8), a_tensor("blk.0.ffn_gate_inp.weight")]
    fields += [lambda w: w.add_logit_scale(0.1)]
    message = r"expert_count=8, logit_scale=0\.1.*does not know: blk\.N\.ffn_gate_inp\.weight"
    refused(tmp_path, message, fields=fields)


def test_llama3_factors_of_other_settings_are_refused(tmp_path):
    add = [lambda w: w.add_tensor("rope_freqs.weight", llama3(low=2.0))]
    config = LLAMA | {"head_dim": 16, "rope_theta": 500000.0}
    refused(tmp_path, "not those of Llama 3.1", config=config, fields=add)


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3"])
def test_factors_of_rope_in_another_architecture_are_refused(tmp_path, architecture):
    add, config = [a_tensor("rope_freqs.weight")], CONFIGS[architecture]
    refused(tmp_path, "does not know: rope_freqs.weight", architecture, config, fields=add)


def test_unknown_architecture(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "mamba")
    gguf_files.finish(writer)
    with pytest.raises(InputError, match="architecture 'mamba': converted are models of llama"):
        converter.convert(tmp_path / "a.gguf", tmp_path / "out")


def test_missing_tensors_and_shapes(tmp_path):
    tensors = gguf_files.random_tensors(LLAMA)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.norm.weight"] = np.ones(7, np.float32)
    message = r"missing: blk\.N\.ffn_up\.weight.*another shape: output_norm\.weight \[7\]"
    refused(tmp_path, message, tensors=tensors)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("llama.block_count", "`block_count` is missing"),
        ("llama.attention.head_count", "`attention.head_count` is missing"),
        ("tokenizer.ggml.tokens", "tokenizer.ggml.tokens"),
        ("tokenizer.ggml.merges", "tokenizer.ggml.merges"),
        ("tokenizer.ggml.pre", "tokenizer.ggml.pre"),
    ],
)
def test_missing_fields(tmp_path, field, message):
    refused(tmp_path, message, fields=[lambda w: w.kv_data[0].pop(field)])


@pytest.mark.parametrize(
    ("field", "value"),
    [("block_count", 2**31), ("embedding_length", 0), ("attention.head_count", 5)],
)
def test_impossible_sizes(tmp_path, field, value):
    def add(writer):
        writer.kv_data[0].pop(f"llama.{field}")
        writer.add_uint32(f"llama.{field}", value)

    config = {k: v for k, v in LLAMA.items() if k != "head_dim"}
    refused(tmp_path, str(value), config=config, fields=[add])


def test_types_that_cannot_be_dequantised(tmp_path):
    tensors = gguf_files.random_tensors(LLAMA)
    tensors["model.norm.weight"] = np.ones(32, np.int16)
    refused(tmp_path, r"cannot dequantise: output_norm\.weight \(I16\)", tensors=tensors)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    tensors = gguf_files.random_tensors(LLAMA)
    folder = tmp_path_factory.mktemp("whole")
    return gguf_files.write(folder / "a.gguf", "llama", LLAMA, tensors).read_bytes()


@pytest.mark.parametrize("n", [0, 3, 20, 200, 5000, -1000])
def test_a_truncated_file(tmp_path, whole, n):
    (tmp_path / "a.gguf").write_bytes(whole[:n])
    with pytest.raises(InputError, match=r"no readable GGUF.*download it again"):
        converter.convert(tmp_path / "a.gguf", tmp_path / "out")


HEAD = b"GGUF" + struct.pack("<I", 3)


@pytest.mark.parametrize(
    "data",
    [
        b"GGML" + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        HEAD + struct.pack("<QQ", 2**60, 0),
        HEAD + struct.pack("<QQ", 0, 2**60),
        HEAD + struct.pack("<QQQ1sIIQ", 0, 1, 1, b"a", 9, 0, 2**60) + bytes(60),  # an array
        HEAD + struct.pack("<QQQ1sIIQ", 0, 1, 1, b"a", 9, 8, 2**60) + bytes(60),  # of strings
        HEAD + struct.pack("<QQQ1sIIQ", 0, 1, 1, b"a", 9, 9, 1) + bytes(60),  # of arrays
        HEAD + struct.pack("<QQQ1sIQ", 0, 1, 1, b"a", 8, 2**60) + bytes(60),  # a string
        HEAD + struct.pack("<QQQ1sI", 0, 1, 1, b"a", 99) + bytes(60),
        HEAD + struct.pack("<QQQ1sIQQ", 1, 0, 1, b"t", 2, 2**40, 2**40) + bytes(60),
        HEAD + struct.pack("<QQQ1sI", 1, 0, 1, b"t", 2**31) + bytes(60),
    ],
)
def test_a_hostile_header(tmp_path, data):
    (tmp_path / "a.gguf").write_bytes(data)
    with pytest.raises(InputError, match="no readable GGUF"):
        converter.convert(tmp_path / "a.gguf", tmp_path / "out")


def test_flipped_bytes_never_end_in_a_traceback(tmp_path, whole):
    random = np.random.RandomState(0)
    for i in range(150):
        data = bytearray(whole)
        data[random.randint(0, 4500)] ^= 1 << random.randint(8)
        (tmp_path / "a.gguf").write_bytes(data)
        with contextlib.suppress(InputError):
            converter.convert(tmp_path / "a.gguf", tmp_path / f"out{i}")


def test_where_it_writes(tmp_path, whole):
    (tmp_path / "a.gguf").write_bytes(whole)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        converter.convert(tmp_path / "a.gguf", tmp_path / "out")
    with pytest.raises(InputError, match="cannot be written"):
        converter.convert(tmp_path / "a.gguf", tmp_path / "a.gguf" / "out")
    with pytest.raises(InputError, match="does not exist"):
        converter.convert(tmp_path / "b.gguf", tmp_path / "new")
