"""How far a checkpoint was trained: by its name, or as the config tells."""

import pytest
import tiny

from jaxbpc import config as config_lib
from jaxbpc.evaluation import training_progress
from jaxbpc.models import costs
from jaxbpc.models.families import llama


@pytest.mark.parametrize(
    ("name", "step", "tokens"),
    [
        ("step1000", 1000, None),
        ("step0", 0, None),
        ("stage1-step5000-tokens11B", 5000, 11e9),
        ("step1000-tokens4.5B", 1000, 4.5e9),
        ("checkpoint-500", 500, None),
        ("global_step143000", 143000, None),
        ("iter_0001000", 1000, None),
        ("001000", 1000, None),
        ("ckpt_12", 12, None),
        ("step50k", 50_000, None),
        ("step_50K-tokens2.5B", 50_000, 2.5e9),
        ("step1.5M", 1_500_000, None),
        ("step1.0005k", None, None),
        ("step7B", None, None),
        ("step1e3", None, None),
        ("step1,000", None, None),
        ("step1_000", None, None),
        ("step1000_hf", 1000, None),
        ("step1000_512", 1000, None),
        ("step100.safetensors", 100, None),
        ("step1.5", None, None),
        ("ba1000", 1000, None),
        ("ep0-ba1000-rank0", 1000, None),
        ("ba7b", None, None),
        ("0fba1000", None, None),
        ("1000steps", 1000, None),
        ("run-50ksteps", 50_000, None),
        ("1,000steps", None, None),
        ("stage2-ingredient1-step1000", 1000, None),
        ("checkpoint-500-step500", 500, None),
        ("checkpoint-5-step500", None, None),
        ("main", None, None),
        ("Llama-2-7b-hf", None, None),
        ("misstep7", None, None),
        ("v1.5", None, None),
        ("pythia-160m-deduped", None, None),
    ],
)
def test_of_name(name, step, tokens):
    assert training_progress.of_name(name) == (step, tokens)


def settings(**fields):
    config = config_lib.default()
    config.model.path = "owner/model"
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return config_lib.validate(config)


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, (None, None, None)),
        ({"model__revision": "step1000"}, (1000, None, None)),
        ({"model__path": "/a/checkpoints/2000/items"}, (2000, None, None)),
        ({"model__path": "runs/step7/", "training__tokens_per_step": 2.0}, (7, 14, 84.0)),
        ({"model__path": "x/step7", "model__revision": "step8-tokens3B"}, (8, 3e9, 18e9)),
        (
            {"model__path": "x/step7", "training__step": 9, "training__tokens": 5e12},
            (9, 5e12, 3e13),
        ),
        ({"training__tokens": 5.0, "training__flops": 1e20}, (None, 5, 1e20)),
    ],
    ids=str,
)
def test_of_settings(fields, want):
    found = training_progress.of(settings(**fields), flops_per_token=6.0)
    assert tuple(found.values()) == want


def test_flops_are_six_a_parameter():
    """Of the tiny model: all matrices but the embedding, whose rows are looked up."""
    arch = llama.to_arch(dict(tiny.CONFIG), "config.json")
    d, f, k = 32, 48, 16
    matrices = 2 * (2 * d * d + 2 * d * k + 3 * d * f) + tiny.VOCAB * d
    assert costs.training_flops(arch) == 6 * matrices
