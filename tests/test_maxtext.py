"""MaxText's trees of a Llama, written here as MaxText's converters do, against the same in HF's."""

import json
import shutil

import cases
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from test_load import loaded, random_weights, same, write
from test_parity import ONE, scored

from jaxbpc.checkpoint import export_orbax, load
from jaxbpc.errors import InputError

# 1/√H is not exact: of H = 8.
LLAMA = {
    "model_type": "llama",
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": cases.VOCAB,
    "max_position_embeddings": 512,
}
LLAMA_31 = LLAMA | {
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
}
MISTRAL = LLAMA | {"model_type": "mistral", "sliding_window": 32}


def as_layer(tensors, config, layer):
    """A layer as MaxText holds it: kernels [in, …], heads apart, queries over √H."""
    n, k, h = (config[f] for f in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    d = config["hidden_size"]

    def get(name):
        return tensors[f"model.layers.{layer}.{name}.weight"]

    query = get("self_attn.q_proj").T.reshape(d, n, h)
    key = get("self_attn.k_proj").T.reshape(d, k, h)
    if "rope_scaling" in config:
        # max_utils.permute_to_match_maxtext_rope: the halves of a head become neighbours.
        query, key = (
            np.stack(np.split(x, 2, axis=-1), axis=-1).reshape(x.shape) for x in (query, key)
        )
    return {
        "pre_self_attention_layer_norm": {"scale": get("input_layernorm")},
        "post_self_attention_layer_norm": {"scale": get("post_attention_layernorm")},
        "self_attention": {
            "query": {"kernel": query / np.sqrt(np.float32(h))},
            "key": {"kernel": key},
            "value": {"kernel": get("self_attn.v_proj").T.reshape(d, k, h)},
            "out": {"kernel": get("self_attn.o_proj").T.reshape(n, h, d)},
        },
        "mlp": {
            "wi_0": {"kernel": get("mlp.gate_proj").T},
            "wi_1": {"kernel": get("mlp.up_proj").T},
            "wo": {"kernel": get("mlp.down_proj").T},
        },
    }


def turned(x, pairs):
    """Rotary embedding of [T, heads, H] in float64: of neighbours, or of the halves of a head."""
    length, _, h = x.shape
    angle = np.arange(length)[:, None] / 1e4 ** (np.arange(0, h, 2) / h)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = (x[..., 0::2], x[..., 1::2]) if pairs else np.split(x, 2, axis=-1)
    turned = [a * cos - b * sin, b * cos + a * sin]
    return np.stack(turned, -1).reshape(x.shape) if pairs else np.concatenate(turned, -1)


@pytest.mark.parametrize("config", [LLAMA, LLAMA_31], ids=["llama", "llama3.1"])
def test_scores_as_maxtext_computes_them(config):
    """MaxText's attention, by its own kernels, without a scale, is Hugging Face's with one.

    RotaryEmbedding turns halves, LLaMARotaryEmbedding (Llama 3.1) neighbours; their frequencies do
    not matter here.
    """
    tensors = random_weights(config)

    def weights(name):
        return tensors[f"model.layers.0.{name}.weight"]

    kernels = as_layer(tensors, config, 0)["self_attention"]
    x = np.random.RandomState(1).normal(size=(20, config["hidden_size"]))
    query, key = (
        turned(np.einsum("td,dnh->tnh", x, kernels[name]["kernel"]), "rope_scaling" in config)
        for name in ("query", "key")
    )
    got = np.einsum("tkgh,skh->kgts", query.reshape(20, 2, 2, 8), key)
    query, key = (
        turned(
            (x @ tensors[f"model.layers.0.self_attn.{name}_proj.weight"].T).reshape(20, -1, 8), 0
        )
        for name in ("q", "k")
    )
    want = np.einsum("tkgh,skh->kgts", query.reshape(20, 2, 2, 8), key) / np.sqrt(8)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def as_tree(tensors, config, scanned):
    """MaxText's TrainState: layers apart, or together along axis 1."""
    import jax

    layers = [as_layer(tensors, config, i) for i in range(config["num_hidden_layers"])]
    decoder = {f"layers_{i}": layer for i, layer in enumerate(layers)}
    if scanned:
        decoder = {"layers": jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *layers)}
    decoder["decoder_norm"] = {"scale": tensors["model.norm.weight"]}
    decoder["logits_dense"] = {"kernel": tensors["lm_head.weight"].T}
    embedding = {"embedding": tensors["model.embed_tokens.weight"]}
    params = {"params": {"decoder": decoder, "token_embedder": embedding}}
    mu = jax.tree.map(np.zeros_like, params)
    return {"step": 3, "params": params, "opt_state": [{"mu": mu}]}


def write_both(place, config, scanned, change=None):
    """`hf`, and MaxText's checkpoint `3` with HF's config.json put beside its items."""
    tensors = random_weights(config)
    write(place / "hf", config, tensors)
    tree = as_tree(tensors, config, scanned)
    if change:
        change(tree["params"]["params"]["decoder"])
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True)
    with ocp.CheckpointManager(place, item_handlers={"items": handler}) as manager:
        manager.save(3, args=ocp.args.Composite(items=ocp.args.PyTreeSave(tree)))
    shutil.copy(place / "hf" / "config.json", place / "3")
    return place / "hf", place / "3"


@pytest.mark.parametrize(
    ("config", "scanned"),
    [(LLAMA, True), (LLAMA_31, False), pytest.param(MISTRAL, False, marks=pytest.mark.long)],
    ids=["llama-scanned", "llama3.1-unscanned", "mistral-unscanned"],
)
def test_the_same_nats(config, scanned, tmp_path):
    hf, maxtext = write_both(tmp_path, config, scanned)
    want, got = scored(hf, ONE), scored(maxtext, ONE)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert got.sum(dtype=np.float64) == pytest.approx(want.sum(dtype=np.float64), rel=1e-7)


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
def test_the_same_weights_where_the_scale_is_exact(scanned, tmp_path):
    """Onto a mesh, from the folder of the step and from that of its items."""
    hf, maxtext = write_both(tmp_path, LLAMA_31 | {"head_dim": 16}, scanned)
    want, fingerprint = loaded(hf)
    if not scanned:
        shutil.move(maxtext / "config.json", maxtext / "items")
        maxtext = maxtext / "items"
    got, again = loaded(maxtext, (2, 2, 2))
    same(got, want)
    assert again == fingerprint


def test_converted(tmp_path):
    """Of bfloat16 what is multiplied is kept in float32: it scores the same in any dtype."""

    def low(decoder):
        query = decoder["layers"]["self_attention"]["query"]
        query["kernel"] = query["kernel"].astype(ml_dtypes.bfloat16)

    _, maxtext = write_both(tmp_path, LLAMA, True, low)
    export_orbax.convert(str(maxtext), str(tmp_path / "ox"))
    for dtype in ("float32", "bfloat16"):
        assert loaded(tmp_path / "ox", dtype=dtype)[1] == loaded(maxtext, dtype=dtype)[1]


def test_tensors_that_do_not_fit(tmp_path):
    def change(decoder):
        del decoder["layers"]["self_attention"]["key"], decoder["logits_dense"]
        decoder["layers"]["mlp"]["wi_1"]["kernel"] = np.ones((40, 3, 55), np.float32)
        decoder["layers"]["mlp"]["wo"]["kernel"] = np.ones((56, 3, 40), np.int32)
        decoder["layers"]["self_attention"]["query_norm"] = {"scale": np.ones(8, np.float32)}

    _, maxtext = write_both(tmp_path, LLAMA, True, change)
    with pytest.raises(InputError) as error:
        load.open_checkpoint(maxtext)
    root = "params.params.decoder.layers"
    for words in [
        str(maxtext),
        f"missing: params.params.decoder.logits_dense.kernel, {root}.self_attention.key.kernel",
        f"extra: {root}.self_attention.query_norm.scale",
        f"{root}.mlp.wi_1.kernel F32 [40, 3, 55] instead of [40, 3, 56]",
        f"{root}.mlp.wo.kernel I32",
    ]:
        assert words in str(error.value)


def test_another_config(tmp_path):
    """Its sizes are compared before anything is read."""
    _, maxtext = write_both(tmp_path, LLAMA, True)
    config = LLAMA | {"num_hidden_layers": 2, "num_key_value_heads": 4}
    (maxtext / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"key\.kernel F32 \[40, 3, 2, 8\] instead of \[40, 2, 4"):
        load.open_checkpoint(maxtext)
