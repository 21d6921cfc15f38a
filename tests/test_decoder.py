"""Layers that repeat: how they are found, and that scanning over them changes nothing."""

import cases
import numpy as np
import oracle
import pytest
from test_parity import MESH, ONE, scored

from jaxbpc.models.arch import Layer
from jaxbpc.models.decoder import Run, runs

FULL, SLIDING, EXPERTS = Layer(), Layer(window=8), Layer(experts=True)


@pytest.mark.parametrize(
    ("layers", "want"),
    [
        ([FULL], [Run(0, 1, 1)]),
        ([FULL] * 6, [Run(0, 1, 5), Run(5, 1, 1)]),
        ([SLIDING, FULL] * 4, [Run(0, 2, 3), Run(6, 1, 1), Run(7, 1, 1)]),
        (
            [*[SLIDING] * 5, FULL] * 3 + [SLIDING] * 2,
            [Run(0, 6, 3), Run(18, 1, 1), Run(19, 1, 1)],
        ),
        ([FULL] * 3 + [EXPERTS] * 9, [Run(0, 1, 3), Run(3, 1, 8), Run(11, 1, 1)]),
        ([FULL] + [EXPERTS] * 2, [Run(0, 1, 1), Run(1, 1, 1), Run(2, 1, 1)]),
    ],
)
def test_runs(layers, want):
    got = runs(layers)
    assert list(got) == want
    assert [i for run in got for i in range(run.first, run.end)] == list(range(len(layers)))


def deeper(config, shapes, n_layers):
    """A golden model's config and shapes with more layers, alternately those that it has."""
    names = [name for name in ("num_hidden_layers", "n_layer", "n_layers") if name in config]
    n_before = config[names[0]]
    result = dict(config) | dict.fromkeys(names, n_layers)
    if "layer_types" in config:
        kinds = config["layer_types"]
        result["layer_types"] = [kinds[i % n_before] for i in range(n_layers)]
    deep = {}
    for name, shape in shapes.items():
        parts = name.split(".")
        at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        if at is None:
            deep[name] = shape
            continue
        for layer in range(int(parts[at]), n_layers, n_before):
            deep[".".join([*parts[:at], str(layer), *parts[at + 1 :]])] = shape
    return result, deep


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("case", "mesh"), [("llama-gqa", MESH), ("mixtral", MESH), ("gpt2", ONE)], ids=str
)
def test_stacked_is_the_same(case, mesh, tmp_path):
    golden = oracle.golden(case)
    cases.write_model(tmp_path, *deeper(golden["config"], golden["shapes"], 6))
    plain, stacked = scored(tmp_path, ONE), scored(tmp_path, mesh, stacked=True)
    np.testing.assert_allclose(stacked, plain, rtol=0, atol=2e-5)
