"""Experts over meshes, whether their number divides the axes or not, against a loop over tokens."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbpc.models import moe
from jaxbpc.models.arch import Clamped, Experts
from jaxbpc.models.moe import MoE
from jaxbpc.parallel import sharding

MESHES = [(1, 1, 1), (1, 4, 2), (2, 2, 2), (1, 2, 4), (8, 1, 1)]
B, T, D, F, TOP = 8, 5, 16, 8, 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(gate, up):
    return gate * sigmoid(gate) * up


def clamped(gate, up):
    gate, up = np.minimum(gate, 0.5), np.clip(up, -0.5, 0.5)
    return gate * sigmoid(1.3 * gate) * (up + 1)


def by_a_loop(p, x_BTD, combine):
    """What the module computes, one token and one expert at a time, in float64."""
    p = {name: value.astype(np.float64) for name, value in p.items()}
    y_BTD = np.zeros(x_BTD.shape)
    for place in np.ndindex(x_BTD.shape[:2]):
        x = x_BTD[place].astype(np.float64)
        logits = p["router"] @ x + p.get("router_bias", 0)
        chosen = np.argsort(-logits)[:TOP]
        weights = np.exp(logits[chosen]) / np.sum(np.exp(logits[chosen]))
        for e, weight in zip(chosen, weights, strict=True):
            gate = x @ p["gate"][e] + p["gate_bias"][e]
            up = x @ p["up"][e] + p["up_bias"][e]
            y_BTD[place] += weight * (combine(gate, up) @ p["down"][e] + p["down_bias"][e])
    return y_BTD


@pytest.fixture
def gathered(request, monkeypatch):
    """What comes to what where experts lie over the tokens' axis."""
    monkeypatch.setattr(moe, "_WORTH", 1000 * (request.param == "experts"))
    if request.param == "tokens in pieces":
        monkeypatch.setattr(moe, "MOST_ROUTED", 1)


def ways(*params):
    """Of `gathered`."""
    return pytest.mark.parametrize("gathered", params, indirect=True)


@ways("experts", "tokens in pieces")
@pytest.mark.parametrize("mesh_shape", MESHES, ids=str)
@pytest.mark.parametrize("n", [5, 6, 8])
def test_experts_on_a_mesh(n, mesh_shape, gathered):
    compare(n, mesh_shape, B, biases=True)


@ways("tokens")
@pytest.mark.parametrize("n", [4, 5, 6, 8])
def test_experts_where_tokens_come_at_once(n, gathered):
    compare(n, (1, 4, 2), B, biases=True)


@pytest.mark.smoke
@ways("experts", "tokens")
@pytest.mark.parametrize("n", [5, 8])
def test_without_biases(n, gathered):
    compare(n, (2, 2, 2), B, biases=False)


@pytest.mark.parametrize("n", [5, 6, 8])
def test_rows_that_no_axis_divides(n):
    compare(n, (2, 2, 2), 3, biases=True)


def compare(n, mesh_shape, n_rows, biases):
    experts = Experts(n, TOP, F, "silu", score="softmax_top", router_bias=biases, bias=biases)
    if biases:
        experts = dataclasses.replace(experts, clamped=Clamped(slope=1.3, limit=0.5))
    random = np.random.RandomState(n)
    shapes = {"router": (n, D), "gate": (n, D, F), "up": (n, D, F), "down": (n, F, D)}
    shapes |= {"router_bias": (n,), "gate_bias": (n, F), "up_bias": (n, F), "down_bias": (n, D)}
    p = {
        name: random.normal(0, 0.3, shape).astype(np.float32) * (biases or "bias" not in name)
        for name, shape in shapes.items()
    }
    x_BTD = random.standard_normal((n_rows, T, D)).astype(np.float32)

    mesh = sharding.make_mesh(mesh_shape, jax.devices()[: int(np.prod(mesh_shape))])
    model = MoE(experts, D, np.dtype("float32"))
    places = {
        "router": model.router.weight,
        "gate": model.gate,
        "up": model.up,
        "down": model.down,
        "router_bias": model.router.bias,
        "gate_bias": model.gate_bias,
        "up_bias": model.up_bias,
        "down_bias": model.down_bias,
    }
    for name, parameter in places.items():
        if parameter is not None:
            layout = sharding.named(parameter.get_metadata("axes"), shapes[name], mesh)
            parameter.set_value(jax.device_put(p[name], layout))
    layout = sharding.named(("batch", None, None), x_BTD.shape, mesh)
    with jax.set_mesh(mesh):
        got = jax.jit(lambda model, x: model(x))(model, jax.device_put(jnp.asarray(x_BTD), layout))
    want = by_a_loop(p, x_BTD, clamped if biases else silu)
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=2e-5)
