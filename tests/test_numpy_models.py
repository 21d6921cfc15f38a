"""The numpy oracle against torch: the same weights, re-arranged for a class of transformers."""

import cases
import numpy as np
import numpy_models
import pytest

ROWS = 2


def case(name, **fields):
    config = numpy_models.CASES[name] | fields
    shapes = numpy_models.shapes(config)
    return config, {key: cases.weight(key, shape) for key, shape in shapes.items()}


def nll(name, **fields):
    return numpy_models.nll(*case(name, **fields), cases.ids(cases.LONG)[:ROWS])


def llama_names(tensors, n_layers, names):
    """Our tensors under Llama's names; `names` as ours → Llama's, with {l} for the layer."""
    return {
        theirs.format(l=layer): tensors[ours.format(l=layer)]
        for ours, theirs in names.items()
        for layer in range(n_layers)
        if ours.format(l=layer) in tensors
    }


def split(fused, *sizes):
    """q, k, v of a fused weight or bias."""
    return np.split(fused, np.cumsum(sizes)[:-1])


def torch_nll(fields, tensors, kind="llama", patch=None):
    """Nats of torch's own model in float64. patch(model): last changes to it."""
    torch = pytest.importorskip("torch")
    import transformers

    config = transformers.CONFIG_MAPPING[kind](**fields, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    model.load_state_dict({k: torch.tensor(v).double() for k, v in tensors.items()})
    # `double` widened the angles' float32 frequencies, but did not make them anew.
    if patch:
        patch(model)
    ids = torch.tensor(cases.ids(cases.LONG)[:ROWS]).long()
    with torch.no_grad():
        logits = model(ids[:, :-1]).logits
        assert logits.dtype == torch.float64
        return -torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0].numpy()


def llama_fields(config, **more):
    shared = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    fields = {key: config[key] for key in (*shared, "intermediate_size")}
    fields["num_key_value_heads"] = config.get("num_key_value_heads", fields["num_attention_heads"])
    return fields | {"rms_norm_eps": config.get("rms_norm_eps", 1e-6)} | more


def rope(base, kind="default", **fields):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": float(base)} | fields}


QWEN = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.h.{l}.ln_1.weight": "model.layers.{l}.input_layernorm.weight",
    "transformer.h.{l}.attn.c_proj.weight": "model.layers.{l}.self_attn.o_proj.weight",
    "transformer.h.{l}.attn.c_proj.bias": "model.layers.{l}.self_attn.o_proj.bias",
    "transformer.h.{l}.ln_2.weight": "model.layers.{l}.post_attention_layernorm.weight",
    "transformer.h.{l}.mlp.w2.weight": "model.layers.{l}.mlp.gate_proj.weight",
    "transformer.h.{l}.mlp.w2.bias": "model.layers.{l}.mlp.gate_proj.bias",
    "transformer.h.{l}.mlp.w1.weight": "model.layers.{l}.mlp.up_proj.weight",
    "transformer.h.{l}.mlp.w1.bias": "model.layers.{l}.mlp.up_proj.bias",
    "transformer.h.{l}.mlp.c_proj.weight": "model.layers.{l}.mlp.down_proj.weight",
    "transformer.h.{l}.mlp.c_proj.bias": "model.layers.{l}.mlp.down_proj.bias",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}


def qwen_as_llama(config, tensors, order=slice(None)):
    """Llama's tensors. order: of the dimensions of a head of q and k."""
    found = llama_names(tensors, 2, QWEN)
    n, size = config["num_attention_heads"], config["kv_channels"]
    for layer in range(2):
        for kind in ("weight", "bias"):
            fused = tensors[f"transformer.h.{layer}.attn.c_attn.{kind}"]
            for letter, part in zip("qkv", split(fused, *[n * size] * 3), strict=True):
                if letter != "v":
                    part = part.reshape(n, size, -1)[:, order].reshape(part.shape)
                found[f"model.layers.{layer}.self_attn.{letter}_proj.{kind}"] = part
    return found


@pytest.mark.parametrize("name", ["qwen", "qwen-72b"])
def test_qwen_is_qwen2(name):
    config, tensors = case(name)
    fields = llama_fields(config, intermediate_size=48, **rope(config["rotary_emb_base"]))
    want = torch_nll(fields, qwen_as_llama(config, tensors), "qwen2")
    np.testing.assert_allclose(nll(name), want, rtol=0, atol=1e-5)


def biased(config, tensors, order=slice(None)):
    """Qwen with `no_bias` false as a Llama with all biases."""
    fields = llama_fields(config, intermediate_size=48, attention_bias=True, mlp_bias=True)
    return fields, qwen_as_llama(config, tensors, order)


def test_qwen_biases():
    config, tensors = case("qwen-biases")
    fields, found = biased(config, tensors)
    want = torch_nll(fields | rope(10000), found)
    np.testing.assert_allclose(nll("qwen-biases"), want, rtol=0, atol=1e-5)


def test_qwen_partial_rotation():
    """Half of a head's 8 dimensions turn: as pairs (0, 2), (1, 3); the others stand still."""
    config, tensors = case("qwen-partial", no_bias=False)
    fields, found = biased(config, tensors, order=[0, 1, 4, 5, 2, 3, 6, 7])

    def stop(model):
        rotary = model.model.rotary_emb
        rotary.inv_freq = rotary.inv_freq.new_tensor([1.0, 10000.0**-0.5, 0, 0])

    want = torch_nll(fields | rope(10000), found, patch=stop)
    np.testing.assert_allclose(nll("qwen-partial", no_bias=False), want, rtol=0, atol=1e-5)


def eager(change, model):
    """Makes `model` attend by its eager function, after change(query, mask) of its arguments."""
    import transformers.models.llama.modeling_llama as llama

    def attend(module, query, key, value, attention_mask, **more):
        query, attention_mask = change(query, attention_mask)
        return llama.eager_attention_forward(module, query, key, value, attention_mask, **more)

    llama.ALL_ATTENTION_FUNCTIONS.register("changed", attend)
    transformers_masks = pytest.importorskip("transformers.masking_utils")
    transformers_masks.ALL_MASK_ATTENTION_FUNCTIONS.register(
        "changed", transformers_masks.eager_mask
    )
    model.config._attn_implementation = "changed"


def test_qwen_beyond_its_length():
    """300 tokens at a seq_length of 128: the base grows by 7^(8/6), queries from 128 on by logs."""
    config, tensors = case("qwen-beyond", no_bias=False)
    fields, found = biased(config, tensors)

    def logn(query, mask):
        factors = [1.0] * 128 + [np.log(p + 1) / np.log(128) for p in range(128, 300)]
        return query * query.new_tensor(factors)[:, None], mask

    fields |= rope(10000 * 7 ** (8 / 6))
    want = torch_nll(fields, found, patch=lambda model: eager(logn, model))
    np.testing.assert_allclose(nll("qwen-beyond", no_bias=False), want, rtol=0, atol=1e-5)


def test_qwen_within_its_length():
    plain = nll("qwen", use_dynamic_ntk=False, use_logn_attn=False)
    np.testing.assert_array_equal(nll("qwen", seq_length=300), plain)
    assert np.abs(nll("qwen", seq_length=299) - plain).max() > 1e-4
    ntk = nll("qwen", seq_length=128, use_logn_attn=False)
    logn = nll("qwen", seq_length=128, use_dynamic_ntk=False)
    assert np.abs(ntk - plain)[:, :128].max() > 1e-4
    np.testing.assert_allclose(logn[:, :128], plain[:, :128], rtol=0, atol=1e-12)
    assert np.abs(logn - plain)[:, 128:].max() > 1e-4


INTERNLM2 = {
    "model.tok_embeddings.weight": "model.embed_tokens.weight",
    "model.layers.{l}.attention_norm.weight": "model.layers.{l}.input_layernorm.weight",
    "model.layers.{l}.attention.wo.weight": "model.layers.{l}.self_attn.o_proj.weight",
    "model.layers.{l}.attention.wo.bias": "model.layers.{l}.self_attn.o_proj.bias",
    "model.layers.{l}.ffn_norm.weight": "model.layers.{l}.post_attention_layernorm.weight",
    "model.layers.{l}.feed_forward.w1.weight": "model.layers.{l}.mlp.gate_proj.weight",
    "model.layers.{l}.feed_forward.w3.weight": "model.layers.{l}.mlp.up_proj.weight",
    "model.layers.{l}.feed_forward.w2.weight": "model.layers.{l}.mlp.down_proj.weight",
    "model.norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


@pytest.mark.parametrize("name", [n for n in numpy_models.CASES if n.startswith("internlm2")])
def test_internlm2_is_llama(name):
    config, tensors = case(name)
    found = llama_names(tensors, 2, INTERNLM2)
    n_groups = config["num_key_value_heads"]
    for layer in range(2):
        for kind in ("weight", "bias") if config["bias"] else ("weight",):
            fused = tensors[f"model.layers.{layer}.attention.wqkv.{kind}"]
            heads = [h.reshape(-1, 8, *fused.shape[1:]) for h in np.split(fused, n_groups)]
            prefix = f"model.layers.{layer}.self_attn."
            for letter, part in {"q": np.s_[:-2], "k": np.s_[-2:-1], "v": np.s_[-1:]}.items():
                kept = np.concatenate([h[part] for h in heads])
                found[f"{prefix}{letter}_proj.{kind}"] = kept.reshape(-1, *fused.shape[1:])
    scaling = config["rope_scaling"] or {"type": "default"}
    more = {"factor": scaling["factor"]} if "factor" in scaling else {}
    fields = llama_fields(
        config,
        attention_bias=config["bias"],
        max_position_embeddings=config["max_position_embeddings"],
        **rope(config["rope_theta"], scaling["type"], **more),
    )
    np.testing.assert_allclose(nll(name), torch_nll(fields, found), rtol=0, atol=1e-5)


def test_internlm2_dynamic_acts_beyond_its_length_only():
    plain = nll("internlm2-dynamic", rope_scaling=None)
    np.testing.assert_array_equal(nll("internlm2-dynamic", max_position_embeddings=300), plain)
    assert np.abs(nll("internlm2-dynamic") - plain).max() > 1e-4


def baichuan_as_llama(config, tensors):
    found = {key: value for key, value in tensors.items() if "W_pack" not in key}
    for layer in range(2):
        prefix = f"model.layers.{layer}.self_attn."
        parts = split(tensors[f"{prefix}W_pack.weight"], *[config["hidden_size"]] * 3)
        found |= {f"{prefix}{x}_proj.weight": part for x, part in zip("qkv", parts, strict=True)}
    return found


def alibi(slopes):
    def attend_nearer(query, mask):
        import torch

        distance = torch.arange(300)[None, :] - torch.arange(300)[:, None]
        bias = torch.tensor(slopes).double()[:, None, None] * distance
        return query, mask + bias[None]

    def patch(model):
        model.model.rotary_emb.inv_freq.zero_()
        eager(attend_nearer, model)

    return patch


@pytest.mark.parametrize("name", [n for n in numpy_models.CASES if n.startswith("baichuan")])
def test_baichuan_is_llama(name):
    torch = pytest.importorskip("torch")
    config, tensors = case(name)
    found = baichuan_as_llama(config, tensors)
    if name.startswith("baichuan2"):
        head = torch.tensor(found["lm_head.weight"]).double()
        found["lm_head.weight"] = torch.nn.functional.normalize(head).numpy()
    slopes = {"baichuan-13b": [4**-h for h in (1, 2, 3, 4)] + [2**-1, 2**-3]}
    patch = None
    if name.endswith("13b"):
        patch = alibi(slopes.get(name, [4**-h for h in (1, 2, 3, 4)]))
    want = torch_nll(llama_fields(config, **rope(10000)), found, patch=patch)
    np.testing.assert_allclose(nll(name), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [1, 4, 6, 32, 40])
def test_slopes_are_those_of_bloom(n):
    torch = pytest.importorskip("torch")
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    bias = build_alibi_tensor(torch.ones(1, 2), n, torch.float32)
    np.testing.assert_allclose(numpy_models.alibi_slopes(n), bias[:, 0, 1].numpy(), rtol=1e-6)


def test_switches_matter():
    """Each case differs from its neighbour by far more than the tolerance of parity."""
    pairs = [
        ("qwen", {"rotary_pct": 0.5}),
        ("qwen", {"rotary_emb_base": 1000000}),
        ("internlm2-gqa", {"rope_theta": 10000}),
        ("internlm2-gqa", {"rope_scaling": {"factor": 4.0, "type": "linear"}}),
        ("baichuan-7b", {"rms_norm_eps": 1e-2}),
    ]
    for name, fields in pairs:
        assert np.abs(nll(name) - nll(name, **fields)).max() > 5e-4, (name, fields)
    config, tensors = case("baichuan-7b")
    del config["max_position_embeddings"]
    other = numpy_models.nll(config, tensors, cases.ids(cases.LONG)[:ROWS])
    assert np.abs(nll("baichuan-7b") - other).max() > 5e-4
