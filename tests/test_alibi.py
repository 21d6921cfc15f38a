"""ALiBi's slopes against those of torch transformers, for any number of heads."""

import numpy as np
import pytest

from jaxbpc.models.decoder import key_bias
from jaxbpc.models.families import FAMILIES, falcon, mpt

HEADS = [*range(1, 34), 40, 64, 71, 112, 128]


@pytest.mark.parametrize("head_size", [8, 64])
def test_falcon(head_size):
    torch = pytest.importorskip("torch")
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    for n_heads in HEADS:
        config = {"hidden_size": n_heads * head_size, "num_attention_heads": n_heads}
        arch = falcon.to_arch(config | {"num_hidden_layers": 1, "alibi": True}, "config.json")
        want = build_alibi_tensor(torch.ones(1, 2048, dtype=torch.long), n_heads, torch.float32)[
            :, 0
        ].numpy()
        want = want.astype(np.float64) / np.sqrt(head_size)
        np.testing.assert_allclose(key_bias(arch, 2048), want, rtol=1e-15)


@pytest.mark.parametrize("bias_max", [8, 16])
def test_mpt(bias_max):
    pytest.importorskip("torch")
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    for n_heads in HEADS:
        bias = build_mpt_alibi_tensor(n_heads, 2, bias_max)[:, 0, 0].numpy()
        np.testing.assert_allclose(mpt.alibi_slopes(n_heads, bias_max), -bias, rtol=3e-7)


def test_mpt_reads_its_bias():
    config = {"d_model": 32, "n_heads": 4, "attn_config": {"alibi_bias_max": 16}}
    arch = FAMILIES["mpt"].to_arch(config, "config.json")
    assert arch.key_bias == (2**-4, 2**-8, 2**-12, 2**-16)
