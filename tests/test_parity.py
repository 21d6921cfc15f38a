"""Tiny random models against torch transformers: nats a token, float32."""

import jax
import numpy as np
import pytest

from jaxbpc import score, sharding
from jaxbpc.models.decoder import Decoder
from jaxbpc.weights import load

torch = pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
import transformers  # noqa: E402

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CASES = {
    "mha": {"num_key_value_heads": 4},
    "gqa": {"num_key_value_heads": 2},
    "mqa": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "llama3": {"rope_parameters": LLAMA3},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("mesh", "attention"), [((8, 1, 1), "blocked"), ((2, 2, 2), "xla")])
def test_llama(case, mesh, attention, tmp_path):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        # At 0.3 torch itself is off its own float64 by 1.7e-5: rounding, blown up by the model.
        initializer_range=0.1,
        **CASES[case],
    )
    model = transformers.LlamaForCausalLM(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.1)
    model.save_pretrained(tmp_path)
    ids = np.random.RandomState(0).randint(0, 96, (8, 301)).astype(np.int32)
    with torch.no_grad():
        logits = model(torch.tensor(ids[:, :-1]).long()).logits.double()
    targets = torch.tensor(ids[:, 1:]).long()[..., None]
    want = -torch.log_softmax(logits, -1).gather(-1, targets)[..., 0].numpy()

    devices = sharding.make_mesh(mesh)
    decoder, _ = load.load(load.open_checkpoint(tmp_path), np.dtype("float32"), devices, attention)
    step = score.Step(Decoder.hidden, Decoder.head_VD, devices)
    layout = sharding.named(("batch", None), (8, 300), devices)
    inputs, outputs = (jax.device_put(a, layout) for a in (ids[:, :-1], ids[:, 1:]))
    for rows in (300, 100):
        got = np.asarray(step(decoder, inputs, outputs, rows))
        np.testing.assert_allclose(got, want[:, -rows:], rtol=0, atol=2e-5)
