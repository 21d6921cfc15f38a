"""Older spellings of config.json and of tensors' names; what would give another number."""

import json

import cases
import oracle
import pytest
from cases_gemma import SEES_ALL, SLIDES

from jaxbpc.checkpoint import load
from jaxbpc.errors import InputError
from jaxbpc.models.families import FAMILIES

OLD_GEMMA3 = {
    "rope_theta": 1e4,
    "rope_local_base_freq": 100.0,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "sliding_window_pattern": 3,
    "attn_logit_softcapping": None,
    "cache_implementation": "hybrid",
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
NEW = ("rope_parameters", "layer_types", "_sliding_window_pattern")
# (case, fields of an older file in place of NEW, fields of a newer one in place of the case's own).
SPELLINGS = [
    (
        "gemma",
        {"rope_theta": 1e4, "hidden_act": "gelu", "hidden_activation": None},
        {"hidden_act": "gelu_pytorch_tanh"},
    ),
    ("gemma2", {"rope_theta": 1e4, "sliding_window_size": 48, "hidden_act": "gelu"}, {}),
    ("gemma3_text", OLD_GEMMA3, {}),
    ("cohere", {"rope_theta": 5e5, "model_max_length": 131072}, {}),
    ("glm4", {"rope_theta": 1e4, "partial_rotary_factor": 0.5}, {}),
    (
        "glm4-plain",
        {"rope_theta": 1e4, "rope_scaling": YARN, "partial_rotary_factor": 0.25},
        {},
    ),
    ("olmo", {"rope_theta": 10000, "rope_scaling": None}, {}),
    ("olmo2-biases", {"rope_theta": 100, "rope_scaling": {"type": "linear", "factor": 4.0}}, {}),
    (
        "olmo3",
        {"rope_theta": 500000, "rope_scaling": YARN},
        {"rope_parameters": {SEES_ALL: YARN | {"rope_theta": 5e5}, SLIDES: {"rope_theta": 5e5}}},
    ),
    ("nemotron", {"rope_theta": 1e4, "rope_percent": 0.5, "kv_channels": 16}, {}),
    ("stablelm", {"rope_theta": 1e4, "rope_pct": 0.25, "rotary_scaling_factor": 1.0}, {}),
]


def config_of(case):
    return json.loads((oracle.GOLDEN / f"{case}.json").read_text())["config"]


def to_arch(config):
    return FAMILIES[config["model_type"]].to_arch(config, "config.json")


@pytest.mark.parametrize(("case", "old", "new"), SPELLINGS, ids=[s[0] for s in SPELLINGS])
def test_older_files(case, old, new):
    config = config_of(case)
    older = {name: value for name, value in config.items() if name not in NEW} | old
    assert to_arch(older) == to_arch(config | new)


def test_older_files_of_gemma3():
    config = config_of("gemma3")
    text = {name: value for name, value in config["text_config"].items() if name not in NEW}
    assert to_arch(config | {"text_config": text | OLD_GEMMA3}) == to_arch(config)


def test_published_gemma3_4b_leaves_out_its_sizes():
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    arch = to_arch({"model_type": "gemma3", "text_config": text, "vision_config": {}})
    heads = arch.attention
    assert (arch.vocab_size, heads.n_heads, heads.n_kv_heads, heads.head_size) == (
        262208,
        8,
        4,
        256,
    )
    assert [i for i, layer in enumerate(arch.layers) if layer.window is None] == [5, 11, 17, 23, 29]
    assert {(layer.rope.theta, layer.rope.factor, layer.window) for layer in arch.layers} == {
        (1e6, 8.0, None),
        (1e4, 1.0, 1024),
    }
    assert arch.tied


def test_caps_that_are_null_and_caps_that_are_absent():
    config = config_of("gemma2-plain")
    assert to_arch(config).attention.softcap is None
    assert to_arch(config).logit_softcap is None
    del config["attn_logit_softcapping"], config["final_logit_softcapping"]
    assert to_arch(config).attention.softcap == 50
    assert to_arch(config).logit_softcap == 30


NEWER_NAMES = {
    "language_model.model.": "model.language_model.",
    "vision_tower.": "model.vision_tower.",
    "multi_modal_projector.": "model.multi_modal_projector.",
}


def test_names_of_gemma3(tmp_path):
    golden = json.loads((oracle.GOLDEN / "gemma3.json").read_text())
    shapes = {}
    for name, shape in golden["shapes"].items():
        old = next(p for p in NEWER_NAMES if name.startswith(p))
        shapes[NEWER_NAMES[old] + name.removeprefix(old)] = shape
    shapes["lm_head.weight"] = shapes["model.language_model.embed_tokens.weight"]
    for folder, names in (("published", golden["shapes"]), ("newer", shapes)):
        cases.write_model(tmp_path / folder, golden["config"], names)
    published, newer = (load.open_checkpoint(tmp_path / f) for f in ("published", "newer"))
    assert (published.own_head, newer.own_head) == (False, True)
    assert len(published.fills) + 1 == len(newer.fills)


@pytest.mark.parametrize(
    ("case", "fields", "word"),
    [
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma", {"partial_rotary_factor": 0.5, "rope_parameters": None}, "whole heads"),
        ("gemma", {"hidden_activation": "gelu"}, "hidden_activation"),
        ("gemma2", {"sliding_window": None}, "sliding_window"),
        ("gemma2", {"sliding_window_size": 47}, "sliding_window_size"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma3_text", {"rope_parameters": {"rope_theta": 1e4}}, "by kind of layer"),
        ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, "one of them"),
        ("gemma3_text", {"layer_types": None, "sliding_window_pattern": 6}, "_sliding_window"),
        ("gemma3", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("cohere", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "whole heads"),
        ("glm4", {"rope_parameters": {"partial_rotary_factor": 0.2}}, "pairs"),
        ("olmo", {"clip_qkv": -1.0}, "clip_qkv"),
        ("olmo3", {"rope_theta": 10000.0, "rope_parameters": None}, "rope_theta"),
        ("olmo3", {"sliding_window": None}, "sliding_window"),
        ("nemotron", {"rope_percent": 0.25}, "rope_percent"),
        ("stablelm", {"head_dim": 16}, "head_dim"),
    ],
)
def test_refused(case, fields, word):
    with pytest.raises(InputError, match=word):
        to_arch(config_of(case) | fields)
