"""Weights in eight and four bits against the same weights multiplied out; what is refused."""

import importlib.util
import json
import re

import jax
import ml_dtypes
import numpy as np
import pytest
import tiny

from jaxbpc.checkpoint import load, mapping
from jaxbpc.errors import InputError
from jaxbpc.models.decoder import Decoder, parameters
from jaxbpc.models.families import FAMILIES
from jaxbpc.parallel import sharding

FLOAT8 = {
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
    "fmt": "e4m3",
    "activation_scheme": "dynamic",
}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
# Few sizes are multiples of 128.
DEEPSEEK = {
    "model_type": "deepseek_v3",
    "vocab_size": 64,
    "hidden_size": 160,
    "intermediate_size": 144,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "moe_intermediate_size": 136,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 130,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 40,
    "qk_rope_head_dim": 8,
    "v_head_dim": 36,
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


def shapes_of(config):
    """Tensor name → shape, by the first spelling of each in the family's table."""
    family = FAMILIES[config["model_type"]]
    arch = family.to_arch(config, "config.json")
    wanted = parameters(Decoder(arch, np.dtype("float32"), "xla"))
    shapes = {name: p.get_value().shape for name, p in wanted.items()}
    result, filled = {}, set()
    for fill in mapping._spelt_out(family.NAMES, arch):
        to = set(fill.parts.parameters)
        if to <= shapes.keys() and not to & filled:
            filled |= to
            result |= {name: fill.shape(shapes) for name in fill.tensors}
    return result


def random_weights(config):
    random = np.random.RandomState(0)
    return {
        name: random.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in shapes_of(config).items()
    }


SPELT = {"float32": "F32", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "uint8": "U8"}
SPELT |= {"int8": "I8", "int32": "I32"}


def write(folder, config, tensors):
    """A model's folder; byte by byte, as safetensors' numpy writer knows no float8."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    header, end = {}, 0
    for name, value in tensors.items():
        begin, end = end, end + value.nbytes
        dtype = SPELT[str(value.dtype)]
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [begin, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.writelines(value.tobytes() for value in tensors.values())
    return folder


def loaded(folder, mesh_shape=(1, 1, 1), dtype="float32", stacked=False):
    mesh = sharding.make_mesh(mesh_shape, jax.devices()[: int(np.prod(mesh_shape))])
    checkpoint = load.open_checkpoint(folder)
    model, fingerprint = load.load(checkpoint, np.dtype(dtype), mesh, "xla", stacked=stacked)
    values = {name: np.asarray(p.get_value()) for name, p in parameters(model).items()}
    return values, fingerprint


def same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def negated(x):
    return -x


def doubled(x):
    return 2 * x


def two_signs(x):
    x = x.copy()
    x.flat[[3, 20]] *= -1
    return x


def two_swapped(x):
    x = x.copy()
    x.flat[[3, 20]] = x.flat[[20, 3]]
    return x


def rows_turned(x):
    return np.roll(x, 1, axis=0)


def one_bit(x):
    x = x.copy()
    x.reshape(-1)[-1:].view(f"u{x.itemsize}")[:] ^= 1
    return x


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("change", [negated, doubled, two_signs, two_swapped, rows_turned, one_bit])
def test_a_fingerprint_tells_what_changed(change, dtype, tmp_path):
    """Also what is the same to each bit of all numbers, in tensors of 2^n of them."""
    weights = {n: v.astype(dtype) for n, v in random_weights(tiny.CONFIG).items()}
    want = loaded(write(tmp_path / "as it was", tiny.CONFIG, weights), dtype=dtype)[1]
    for i, name in enumerate(("model.layers.0.mlp.up_proj.weight", "model.norm.weight")):
        assert weights[name].size % 32 == 0
        changed = weights | {name: change(weights[name])}
        assert loaded(write(tmp_path / str(i), tiny.CONFIG, changed), dtype=dtype)[1] != want, name


def as_float8(value):
    """(float8, scales of blocks, the numbers they stand for), as DeepSeek-V3 stores a matrix."""
    rows, columns = value.shape
    scales = np.zeros((-(-rows // 128), -(-columns // 128)), np.float32)
    small, large = value.astype(ml_dtypes.float8_e4m3fn), np.zeros_like(value)
    for i, j in np.ndindex(scales.shape):
        block = np.s_[128 * i : 128 * (i + 1), 128 * j : 128 * (j + 1)]
        scales[i, j] = np.abs(value[block]).max() / 448
        small[block] = (value[block] / scales[i, j]).astype(ml_dtypes.float8_e4m3fn)
        large[block] = small[block].astype(np.float32) * scales[i, j]
    return small, scales, large


@pytest.fixture(scope="module")
def float8(tmp_path_factory):
    """(folder of a float8 checkpoint, its tensors, the values of the same one in float32)."""
    folder = tmp_path_factory.mktemp("float8")
    tensors, plain = {}, {}
    for name, value in random_weights(DEEPSEEK).items():
        if name.endswith("_proj.weight") or "kv_a_proj" in name:
            tensors[name], tensors[f"{name}_scale_inv"], plain[name] = as_float8(value)
        else:
            tensors[name] = plain[name] = value
    config = DEEPSEEK | {"quantization_config": FLOAT8}
    small = write(folder / "small", config, tensors)
    return small, tensors, loaded(write(folder / "large", DEEPSEEK, plain))[0]


@pytest.mark.smoke
def test_float8(float8):
    small, tensors, want = float8
    assert any(value.dtype == ml_dtypes.float8_e4m3fn for value in tensors.values())
    got, fingerprint = loaded(small)
    same(got, want)
    same(loaded(small, (2, 2, 2))[0], want)
    assert loaded(small, (2, 2, 2))[1] == fingerprint


def test_float8_is_rounded_once(float8):
    small, _, want = float8
    got, _ = loaded(small, dtype="bfloat16")
    for name, value in want.items():
        if name.endswith("router.correction"):
            assert got[name].dtype == np.float32
        else:
            value = value.astype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_bfloat16_scales(float8, tmp_path):
    _, tensors, _ = float8
    scales = [name for name in tensors if name.endswith("_scale_inv")]
    rounded = {name: tensors[name].astype(ml_dtypes.bfloat16) for name in scales}
    wide = {name: value.astype(np.float32) for name, value in rounded.items()}
    config = DEEPSEEK | {"quantization_config": FLOAT8}
    got, _ = loaded(write(tmp_path / "narrow", config, tensors | rounded))
    same(got, loaded(write(tmp_path / "wide", config, tensors | wide))[0])


QUERY = "model.layers.0.self_attn.q_a_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({f"{QUERY}_scale_inv": None}, [QUERY, "F8_E4M3", "instead of F32"]),
        ({QUERY: None}, ["missing", QUERY, "extra", f"{QUERY}_scale_inv"]),
        ({f"{QUERY}_scale_inv": np.ones((1, 2), np.float32)}, ["[1, 2]", "[2, 2]"]),
        ({QUERY: np.ones((130, 160), np.int8)}, [QUERY, "I8", "instead of F8_E4M3"]),
        ({"model.norm.weight": np.ones(160, np.int32)}, ["model.norm.weight I32 [160]"]),
        ({"model.layers.3.eh_proj.weight": np.ones(1, np.float32)}, ["extra", "eh_proj"]),
    ],
)
def test_tensors_that_do_not_fit(float8, tmp_path, change, words):
    _, tensors, _ = float8
    left = {name: value for name, value in (tensors | change).items() if value is not None}
    folder = write(tmp_path / "model", DEEPSEEK | {"quantization_config": FLOAT8}, left)
    with pytest.raises(InputError) as error:
        load.open_checkpoint(folder)
    for word in words:
        assert word in str(error.value)


def test_layers_that_predict_further_tokens(float8, tmp_path):
    """Only as many as the config says."""
    _, tensors, want = float8
    more = {"model.layers.2.eh_proj.weight": np.ones((4, 8), np.float32)}
    same(loaded(write(tmp_path / "one", DEEPSEEK, tensors | more))[0], want)
    config = DEEPSEEK | {"num_nextn_predict_layers": 0}
    with pytest.raises(InputError, match=r"extra: .*eh_proj"):
        load.open_checkpoint(write(tmp_path / "none", config, tensors | more))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, ["'gptq'", "fp8"]),
        ({"quant_method": "mxfp4"}, ["'mxfp4'"]),
        ({}, ["quant_method"]),
        (3, ["quantization_config", "object"]),
        (FLOAT8 | {"weight_block_size": [64, 128]}, ["weight_block_size", "[128, 128]"]),
        (FLOAT8 | {"fmt": "e5m2"}, ["fmt", "e4m3"]),
        (FLOAT8 | {"activation_scheme": "static"}, ["activation_scheme"]),
        (FLOAT8 | {"new": 1}, ["new=1"]),
    ],
)
def test_other_quantizations(float8, tmp_path, given, words):
    _, tensors, _ = float8
    folder = write(tmp_path / "model", DEEPSEEK | {"quantization_config": given}, tensors)
    with pytest.raises(InputError) as error:
        load.open_checkpoint(folder)
    for word in [str(folder), "quantization_config", *words]:
        assert word in str(error.value)


def from_mxfp4(blocks, scales):
    """[E, rows, groups, 16] bytes → [E, groups · 32, rows], number by number."""
    table = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    result = np.zeros((*blocks.shape[:3], 32))
    for place in np.ndindex(blocks.shape):
        for half, bits in enumerate((blocks[place] & 15, blocks[place] >> 4)):
            sign = -1 if bits & 8 else 1
            value = sign * table[bits & 7] * 2.0 ** (int(scales[place[:3]]) - 127)
            result[(*place[:3], 2 * place[3] + half)] = value
    return result.reshape(*blocks.shape[:2], -1).swapaxes(1, 2).astype(np.float32)


@pytest.fixture(scope="module")
def mxfp4(tmp_path_factory):
    """(tensors of an MXFP4 checkpoint, those of the same one in float32)."""
    random = np.random.RandomState(1)
    tensors, plain = {}, {}
    for name, value in random_weights(GPT_OSS).items():
        if name.endswith("_proj"):
            n, columns, rows = value.shape
            blocks = random.randint(0, 256, (n, rows, columns // 32, 16)).astype(np.uint8)
            scales = random.randint(118, 126, blocks.shape[:3]).astype(np.uint8)
            tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            plain[name] = from_mxfp4(blocks, scales)
        else:
            tensors[name] = plain[name] = value
    return tensors, plain


def test_mxfp4(mxfp4, tmp_path):
    tensors, plain = mxfp4
    config = GPT_OSS | {"quantization_config": MXFP4}
    small = write(tmp_path / "small", config, tensors)
    want, _ = loaded(write(tmp_path / "large", GPT_OSS, plain))
    got, fingerprint = loaded(small)
    same(got, want)
    got, again = loaded(small, (2, 2, 2))
    same(got, want)
    assert again == fingerprint
    stacked, _ = loaded(small, stacked=True)
    same(stacked, loaded(tmp_path / "large", stacked=True)[0])


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the oracle")
def test_mxfp4_as_transformers(mxfp4):
    import torch
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    tensors, plain = mxfp4
    for name, value in plain.items():
        if name.endswith("_proj"):
            parts = (torch.tensor(tensors[name + end]) for end in ("_blocks", "_scales"))
            want = convert_moe_packed_tensors(*parts, dtype=torch.float32)
            np.testing.assert_array_equal(value, want.numpy())


def test_mxfp4_without_scales(mxfp4, tmp_path):
    tensors, _ = mxfp4
    lost = "model.layers.1.mlp.experts.down_proj_scales"
    left = {name: value for name, value in tensors.items() if name != lost}
    with pytest.raises(InputError, match=f"missing: {re.escape(lost)}"):
        load.open_checkpoint(write(tmp_path / "model", GPT_OSS, left))
