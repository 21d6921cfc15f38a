"""What is chosen where the config leaves it open, and the FLOPs that the cost model counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbpc.errors import InputError
from jaxbpc.evaluation import layout
from jaxbpc.models import costs
from jaxbpc.models.families import FAMILIES

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 1024,
}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 1024, "vocab_size": 256}
MIXTRAL = LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2}
BF16, F32 = np.dtype(jnp.bfloat16), np.dtype("float32")


def arch(kind, config):
    return FAMILIES[kind].to_arch(config, "config.json")


def test_windows_longer_than_the_model_was_trained_for_are_said():
    assert layout.check_positions(arch("llama", LLAMA), 1024) is None
    warning = layout.check_positions(arch("llama", LLAMA), 1900)
    assert "1900" in warning
    assert "1024" in warning


def test_windows_beyond_learned_positions_are_refused():
    assert layout.check_positions(arch("gpt2", GPT2), 1024) is None
    with pytest.raises(InputError, match=r"block_size is 1900, the model knows 1024.*=1024"):
        layout.check_positions(arch("gpt2", GPT2), 1900)


@pytest.mark.parametrize(
    ("name", "platform", "dtype", "want"),
    [
        ("auto", "cpu", F32, "blocked"),
        ("auto", "tpu", BF16, "splash"),
        ("auto", "gpu", BF16, "cudnn"),
        ("auto", "tpu", F32, "blocked"),
        ("auto", "gpu", F32, "blocked"),
        ("xla", "tpu", BF16, "xla"),
        ("blocked", "gpu", BF16, "blocked"),
    ],
)
def test_attention(name, platform, dtype, want):
    assert layout.attention(name, arch("llama", LLAMA), dtype, platform) == want


def test_a_kernel_that_cannot_is_replaced_or_refused():
    soft = arch("gemma2", LLAMA | {"model_type": "gemma2", "attn_logit_softcapping": 50.0})
    assert layout.attention("auto", soft, BF16, "tpu") == "splash"
    assert layout.attention("auto", soft, BF16, "gpu") == "blocked"
    with pytest.raises(InputError, match="soft caps"):
        layout.attention("cudnn", soft, BF16, "gpu")
    with pytest.raises(InputError, match="does not run on cpu"):
        layout.attention("splash", soft, BF16, "cpu")


def test_flops_by_hand():
    """Two layers whole, the last one's queries, output and MLP at the scored rows alone."""
    f = costs.flops(arch("llama", LLAMA), 100, 30)
    kv, qo, mlp = 2 * 64 * 32, 2 * 64 * 64, 3 * 64 * 128
    assert f.matmul == 2 * (2 * 100 * (kv + qo + mlp) + 100 * kv + 30 * (qo + mlp))
    pairs = 2 * sum(range(1, 101)) + sum(range(71, 101))
    assert f.attention == 4 * 64 * pairs
    assert f.head == 2 * 30 * 64 * 256
    assert f.total == f.matmul + f.attention + f.head


def test_flops_of_experts_and_windows():
    dense, mixed = (costs.flops(arch(k, c), 100, 100) for k, c in _pair())
    # Two of four experts a token, and a router.
    assert mixed.matmul - dense.matmul == 2 * 3 * 100 * (3 * 64 * 128 + 64 * 4)
    sliding = costs.flops(arch("mistral", LLAMA | {"sliding_window": 10}), 100, 100)
    assert sliding.attention == 3 * 4 * 64 * (sum(range(1, 11)) + 90 * 10)


def _pair():
    return ("llama", LLAMA), ("mixtral", MIXTRAL)


def test_layout_on_cpu():
    from jaxbpc import config as config_lib

    config = config_lib.default()
    config.model.path = "model"
    config.model.dtype = "float32"
    chosen = layout.choose(config_lib.validate(config), arch("llama", LLAMA), True)
    assert chosen.mesh.shape["data"] == jax.device_count()
    assert (chosen.batch_per_device, chosen.stacked, chosen.attention) == (1, False, "blocked")
    assert chosen.steps_at_once == 1  # over many devices the order of steps is that of dispatch


@pytest.mark.parametrize(
    ("cores", "free", "want"),
    [(2, 1e12, 2), (64, 1e12, 2), (2, 0, 2), (1, 1e12, 1), (2, 1e6, 1)],
)
def test_steps_at_once(monkeypatch, cores, free, want):
    """Two on a CPU of more than one core, where another window's activations have room."""
    from jaxbpc import config as config_lib

    monkeypatch.setattr(layout.processes, "cores", lambda: cores)
    monkeypatch.setattr(layout, "host_memory_bytes", lambda: free)
    config = config_lib.default()
    config.model.path = "model"
    settings = config_lib.validate(config)
    chosen = layout.choose(settings, arch("llama", LLAMA), True, jax.devices()[:1])
    assert chosen.steps_at_once == want
