"""A field that a config.json leaves out is what transformers takes it for."""

import json

import cases
import huggingface_hub.errors
import pytest
import transformers

from jaxbpc.errors import InputError
from jaxbpc.models.families import FAMILIES


def written(config):
    """All fields of a config, as in a config.json."""
    return json.loads(config.to_json_string(use_diff=False))


@pytest.mark.parametrize("case", cases.CASES)
def test_a_field_left_out(case):
    kind, given = cases.CASES[case]
    config_class = transformers.CONFIG_MAPPING[kind]
    whole = written(config_class(**given))
    for name in whole.keys() - {"model_type"}:
        without = {field: value for field, value in whole.items() if field != name}
        try:
            want = FAMILIES[kind].to_arch(written(config_class.from_dict(without)), "config.json")
            got = FAMILIES[kind].to_arch(without, "config.json")
        except (InputError, huggingface_hub.errors.StrictDataclassError):
            continue
        assert got == want, name


@pytest.mark.parametrize(
    ("case", "fields", "word"),
    [
        # Null is false in transformers; who writes it may mean the default.
        ("deepseek_v3", {"norm_topk_prob": None}, "norm_topk_prob"),
        ("deepseek_v3", {"rope_interleave": None}, "rope_interleave"),
        ("falcon-7b", {"parallel_attn": None}, "parallel_attn"),
        ("deepseek_v3", {"head_dim": 2}, "head_dim"),
        ("cohere2", {"sliding_window": None}, "sliding_window"),
    ],
)
def test_refused(case, fields, word):
    kind, given = cases.CASES[case]
    config = written(transformers.CONFIG_MAPPING[kind](**given))
    FAMILIES[kind].to_arch(config, "config.json")
    with pytest.raises(InputError, match=f"`{word}` is"):
        FAMILIES[kind].to_arch(config | fields, "config.json")


def test_a_window_that_is_null_and_one_that_is_absent():
    config = {"hidden_size": 32, "num_attention_heads": 8, "num_hidden_layers": 1}
    config |= {"intermediate_size": 48, "vocab_size": 96}
    absent = FAMILIES["mistral"].to_arch(config, "config.json")
    null = FAMILIES["mistral"].to_arch(config | {"sliding_window": None}, "config.json")
    assert (absent.layers[0].window, null.layers[0].window) == (4096, None)
