"""Live parameters: the numbers of a run over the same weights; one compilation; what is refused."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx
from jax import monitoring
from jax.tree_util import Partial

import jaxbpc
from jaxbpc import config as config_lib
from jaxbpc.checkpoint import load
from jaxbpc.data import tokens
from jaxbpc.errors import InputError, NumberError
from jaxbpc.evaluation import loop, score
from jaxbpc.models.lm_head import Head
from jaxbpc.parallel import sharding
from jaxbpc.run import results

TEXTS = ["no two alike, " * 9, "", "ß and ẞ"]


def bytes_of(text):
    return list(text.encode())


STREAM = tokens.of_texts(TEXTS, bytes_of)


def embedded(table_VD, tokens_BT):
    """The state of a model that sees the last token alone."""
    return table_VD[tokens_BT]


def weights(seed=0, shape=(256, 16)):
    return jax.random.normal(jax.random.key(seed), shape)


def expected_nats(table_VD, head_VD):
    """Of all tokens but the first, by numpy in float64."""
    table, head = (np.asarray(x, np.float64) for x in (table_VD, head_VD))
    ids = np.frombuffer("".join(TEXTS).encode(), np.uint8)
    logits = table[ids[:-1]] @ head.T
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return float(np.sum(log_sum - logits[np.arange(len(ids) - 1), ids[1:]]))


def one_device():
    return sharding.make_mesh((1, 1, 1), jax.devices()[:1])


@pytest.fixture
def compiled():
    """How many programs were compiled since: a list with one entry a program."""
    events = []

    def heard(name, *_, **__):
        if name == "/jax/core/compile/backend_compile_duration":
            events.append(name)

    monitoring.register_event_duration_secs_listener(heard)
    yield events
    monitoring.unregister_event_duration_listener(heard)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    tiny.make_model(folder / "model")
    tiny.write_corpus(folder / "data" / "text.jsonl", tiny.TEXTS)
    return folder


def whole(model, tokens_BT):
    return model.hidden(tokens_BT, tokens_BT.shape[1])


@pytest.mark.long
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)], ids=str)
def test_the_numbers_of_a_run(place, tmp_path, sizes):
    config = config_lib.default()
    config.model.path, config.data.dir = str(place / "model"), str(place / "data")
    config.data.corpora, config.model.dtype = ("text",), "float32"
    config.window.block_size, config.window.stride = 100, 40
    want = loop.run(config, tmp_path / "run").corpora["text"]
    mesh = sharding.make_mesh(sizes, jax.devices()[: math.prod(sizes)])
    model, _ = load.load(
        load.open_checkpoint(place / "model"), np.dtype("float32"), mesh, "blocked"
    )
    stream = tokens.stream(place / "data" / "text.jsonl", place / "model", tmp_path)
    got = jaxbpc.score(Partial(whole, model), model.output(), stream, mesh, (100, 40))
    for name in ("bpc", "bpc_full", "bpb", "bpb_full", "nats", "nats_full"):
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=1e-6)
    assert got.bpc_interval == pytest.approx(want.bpc_interval, rel=1e-5)
    for name in ("characters", "bytes", "documents", "tokens", "windows", "scored_tokens"):
        assert getattr(got, name) == getattr(want, name)
    assert got.corpus_sha256 == want.corpus_sha256


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("mesh", "batch_per_device"),
    [("one", 0), ("data", 3), pytest.param("others", 0, marks=pytest.mark.long)],
)
def test_by_float64(mesh, batch_per_device):
    meshes = {
        "one": one_device,
        "data": lambda: sharding.make_mesh((2, 4, 1)),
        "others": lambda: jax.make_mesh(
            (4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2
        ),
    }
    table, head = weights(0), weights(1)
    got = jaxbpc.score(
        Partial(embedded, table), head, STREAM, meshes[mesh](), (30, 7), batch_per_device
    )
    assert got.nats_full == pytest.approx(expected_nats(table, head), rel=1e-6)
    assert got.bpc_full == got.nats_full / (sum(map(len, TEXTS)) * math.log(2))
    assert got.tokens == got.bytes == len("".join(TEXTS).encode())
    assert (got.documents, got.empty_documents) == (2, 1)


@pytest.mark.long
def test_a_stream_shorter_than_a_window():
    table, head = weights(0), weights(1)
    got = jaxbpc.score(Partial(embedded, table), head, STREAM, one_device())
    assert got.bpc is None
    assert got.nats_full == pytest.approx(expected_nats(table, head), rel=1e-6)


def test_compiled_once_for_changing_parameters(compiled):
    mesh, head = one_device(), weights(1)
    for seed in (0, 5):
        table = weights(seed)
        jax.block_until_ready(table)
        compiled.clear()
        got = jaxbpc.score(Partial(embedded, table), head, STREAM, mesh, (31, 7))
        assert len(compiled) == (0 if seed else 2)  # the first window's step, and the others'
        assert got.nats_full == pytest.approx(expected_nats(table, head), rel=1e-6)


@pytest.mark.long
def test_parameters_stay_where_they_are():
    mesh = sharding.make_mesh((1, 4, 2))
    layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp", "tensor"))
    table, head = (jax.device_put(weights(i), layout) for i in (0, 1))
    got = jaxbpc.score(Partial(embedded, table), head, STREAM, mesh, (30, 7))
    assert table.sharding == head.sharding == layout
    assert got.nats_full == pytest.approx(expected_nats(weights(0), weights(1)), rel=1e-6)


class Model(nnx.Module):
    """Of Flax: an embedding, and a head that is a layer."""

    def __init__(self, table_VD, head_VD):
        self.embed = nnx.Embed(256, 16, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(16, 256, use_bias=False, rngs=nnx.Rngs(0))
        self.embed.embedding[...] = table_VD
        self.head.kernel[...] = head_VD.T

    def hidden(self, tokens_BT):
        return self.embed(tokens_BT)


@pytest.mark.long
def test_a_flax_model(compiled):
    mesh = one_device()
    for seed in (0, 5):
        model = Model(weights(seed), weights(1))
        jax.block_until_ready(nnx.state(model))
        compiled.clear()
        got = jaxbpc.score(Partial(Model.hidden, model), model.head, STREAM, mesh, (30, 7))
        assert len(compiled) == (0 if seed else 2)
        assert got.nats_full == pytest.approx(expected_nats(weights(seed), weights(1)), rel=1e-6)


@pytest.mark.long
def test_a_head_with_all_that_it_may_have():
    table, head = weights(0), Head(weights(1), scale=0.5)
    got = jaxbpc.score(Partial(embedded, table), head, STREAM, one_device(), (30, 7))
    want = expected_nats(table, 0.5 * weights(1))
    assert got.nats_full == pytest.approx(want, rel=1e-6)


def flat(table_VD, tokens_BT):
    return table_VD[tokens_BT][:, 0]


def first_state(head_VD, h_BRD):
    return h_BRD[:, 0] @ head_VD.T


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": functools.partial(embedded, np.ones((256, 4)))}, "no parameters in it"),
        ({"hidden": Partial(flat, weights(0))}, r"hidden gives \(1, 16\) for tokens \(1, 30\)"),
        ({"head": Partial(first_state, weights(1))}, r"head gives \(1, 256\)"),
        ({"head": weights(1, (200, 16))}, "has id 225, the head 200 logits"),
        ({"head": weights(1, (16, 256))}, r"head is \(16, 256\).*transposed"),
        ({"head": lambda h_BRD: h_BRD}, "head is a plain function"),
        ({"mesh": None}, "mesh is NoneType"),
        ({"mesh": "explicit"}, "explicit axes"),
        ({"window": (30, 31)}, "stride is 31"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_refused(change, words):
    given = {"hidden": Partial(embedded, weights(0)), "head": weights(1), "window": (30, 7)}
    given |= {"mesh": one_device(), "stream": STREAM} | change
    if given["mesh"] == "explicit":
        given["mesh"] = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    with pytest.raises(InputError, match=words):
        jaxbpc.score(**given)


def test_a_head_of_numpy():
    given = [Partial(embedded, weights(0)), STREAM, one_device(), (30, 7)]
    found = [
        jaxbpc.score(given[0], head, *given[1:]) for head in (weights(1), np.array(weights(1)))
    ]
    assert found[0] == found[1]


def test_what_a_training_tells(tmp_path):
    """Numbers as a training loop has them become JSON's; what is none is refused."""
    result = jaxbpc.score(Partial(embedded, weights(0)), weights(1), STREAM, one_device(), (30, 7))
    training = {"step": np.int64(4), "tokens": jnp.asarray(5), "flops": np.float32(0.5)}
    score.write(str(tmp_path / "a"), {"x": result}, (30, 7), weights(0), training)
    assert results.read(tmp_path / "a" / "results.json").training == {
        "step": 4,
        "tokens": 5,
        "flops": 0.5,
    }
    for bad, words in (
        ({"step": "5"}, "training.step is '5'"),
        ({"steps": 5}, "training has 'steps'"),
        ({"tokens": np.nan}, "training.tokens is nan"),
        ({"step": np.arange(2)}, "training.step is array"),
    ):
        with pytest.raises(InputError, match=words):
            score.write(tmp_path / "b", {"x": result}, (30, 7), weights(0), bad)
        assert not (tmp_path / "b").exists()


def test_a_loss_that_is_not_finite():
    table = weights(0).at[ord("ß".encode()[0:1])].set(jnp.nan)
    token = "".join(TEXTS).encode().index("ß".encode()) + 1
    with pytest.raises(NumberError, match=f"token {token}, row 2"):
        jaxbpc.score(Partial(embedded, table), weights(1), STREAM, one_device(), (30, 7))
