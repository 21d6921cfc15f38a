"""Qwen 1, InternLM2, Baichuan as published: their sizes, what is refused, what is not read."""

import cases
import jax
import numpy_models
import pytest

from jaxbpc.checkpoint import load
from jaxbpc.errors import InputError
from jaxbpc.models.decoder import Decoder, n_parameters
from jaxbpc.models.families import FAMILIES


def sizes(vocab, embed, mlp, layers, heads, **fields):
    return {
        "vocab_size": vocab,
        "hidden_size": embed,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    } | fields


def to_arch(case, change):
    config = numpy_models.CASES[case] | change
    return FAMILIES[config["model_type"]].to_arch(config, "config.json")


@pytest.mark.parametrize(
    ("case", "change", "count"),
    [
        ("qwen", sizes(151936, 2048, 11008, 24, 16, kv_channels=128), 1_836_828_672),
        ("qwen", sizes(151936, 4096, 22016, 32, 32, kv_channels=128), 7_721_324_544),
        ("qwen", sizes(152064, 5120, 27392, 40, 40, kv_channels=128), 14_167_290_880),
        ("qwen-72b", sizes(152064, 8192, 49152, 80, 64, kv_channels=128), 72_287_920_128),
        (
            "internlm2-gqa",
            sizes(92544, 2048, 8192, 24, 16, num_key_value_heads=8),
            1_889_110_016,
        ),
        (
            "internlm2-gqa",
            sizes(92544, 4096, 14336, 32, 32, num_key_value_heads=8),
            7_737_708_544,
        ),
        (
            "internlm2-gqa",
            sizes(92544, 6144, 16384, 48, 48, num_key_value_heads=8),
            19_861_149_696,
        ),
        ("baichuan-7b", sizes(64000, 4096, 11008, 32, 32), 7_000_559_616),
        ("baichuan-13b", sizes(64000, 5120, 13696, 40, 40), 13_264_901_120),
        ("baichuan2-7b", sizes(125696, 4096, 11008, 32, 32), 7_505_973_248),
        ("baichuan2-13b", sizes(125696, 5120, 13696, 40, 40), 13_896_668_160),
    ],
)
def test_every_weight_is_counted(case, change, count):
    assert n_parameters(Decoder(to_arch(case, change), jax.numpy.bfloat16, "xla")) == count


def test_baichuan_is_told_by_its_fields():
    first, last = to_arch("baichuan-7b", {"vocab_size": 64000}), to_arch("baichuan2-13b", {})
    assert (first.layers[0].rope.theta, first.key_bias, first.head_normalized) == (1e4, (), False)
    assert (last.layers[0].rope, last.key_bias, last.max_length, last.head_normalized) == (
        None,
        (2**-2, 2**-4, 2**-6, 2**-8),
        4096,
        True,
    )


@pytest.mark.parametrize(
    ("case", "change", "word"),
    [
        ("qwen", {"kv_channels": 16}, "kv_channels"),
        ("qwen", {"rotary_pct": 1.5}, "partial rotary"),
        ("qwen", {"rotary_pct": 0.25}, "partial rotary"),  # two dimensions: no base to grow
        ("qwen", {"seq_length": 1}, "seq_length"),
        ("qwen", {"seq_length": None}, "seq_length"),
        ("qwen", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("qwen", {"use_cache_quantization": True}, "use_cache_quantization"),
        ("qwen", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("qwen", {"visual": {"heads": 16}}, "visual"),
        ("qwen", {"audio": {}}, "audio"),
        ("qwen", {"n_embd": 32}, "n_embd"),
        ("internlm2-gqa", {"hidden_act": "gelu"}, "hidden_act"),
        ("internlm2-gqa", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("internlm2-gqa", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "yarn"),
        ("internlm2-gqa", {"rope_scaling": {"type": "dynamic"}}, "factor"),
        ("internlm2-gqa", {"rope_scaling": {"type": "other"}}, "other"),
        ("internlm2-gqa", {"attention_bias": True}, "attention_bias"),
        ("internlm2-gqa", {"num_key_value_heads": 3}, "num_key_value_heads"),
        ("baichuan-7b", {"hidden_act": "gelu"}, "hidden_act"),
        ("baichuan-7b", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("baichuan-7b", {"rope_theta": 10000.0}, "rope_theta"),
        ("baichuan-7b", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ("baichuan-7b", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("baichuan-7b", {"max_position_embeddings": None}, "model_max_length"),
        ("baichuan-7b", {"num_key_value_heads": 2}, "num_key_value_heads"),
        ("baichuan2-13b", {"vocab_size": 125_700}, "125700"),
        ("baichuan2-13b", {"num_attention_heads": 3}, "num_attention_heads"),
    ],
)
def test_what_is_refused(case, change, word):
    with pytest.raises(InputError, match=r"config\.json") as error:
        to_arch(case, change)
    assert word in str(error.value)


@pytest.mark.parametrize(
    ("case", "stored"),
    [
        ("qwen", ["transformer.h.1.attn.masked_bias", "transformer.rotary_emb.inv_freq"]),
        ("internlm2-gqa", ["model.layers.1.attention.rotary_emb.inv_freq"]),
        ("baichuan-7b", ["model.layers.1.self_attn.rotary_emb.inv_freq"]),
    ],
)
def test_stored_tables_are_unused(case, stored, tmp_path):
    config = numpy_models.CASES[case]
    shapes = numpy_models.shapes(config)
    cases.write_model(tmp_path, config, shapes | dict.fromkeys(stored, (4,)))
    checkpoint = load.open_checkpoint(tmp_path)
    assert {name for fill in checkpoint.fills for name in fill.tensors} == set(shapes)
