"""Tiny random models of every family, for parity: configs as data, weights as a function of names.

A weight depends on its tensor's name alone, so that the same model can be made with torch (the
oracle) and without it (from the shapes in `golden/`).
"""

import json
import zlib

import cases_falcon
import cases_gemma
import cases_gpt
import cases_llama
import cases_moe
import cases_olmo
import cases_qwen
import numpy as np
import safetensors.numpy

N_ROWS, VOCAB = 4, cases_llama.VOCAB
SHORT, LONG = 97, 301  # tokens per row
GOLDEN_STEP = 4

# Case → (model_type, fields of its config).
_TABLES = (cases_falcon, cases_gemma, cases_gpt, cases_llama, cases_moe, cases_olmo, cases_qwen)
CASES = {name: case for table in _TABLES for name, case in table.CASES.items()}
# One or more cases of each family also run on a mesh of all three axes.
ON_A_MESH = [name for table in _TABLES for name in table.ON_A_MESH]
# The cases that together use everything that a mesh may split: the default tests run these.
MESH_FEATURES = {
    "llama-mqa": "one key head on two devices",
    "llama-tied": "the embedding as head",
    "llama-biases": "biases of split products",
    "mixtral": "experts",
    "gpt2": "learned positions, transposed weights",
    "falcon-40b": "fused queries, keys and values by group; parallel blocks",
    "falcon-rw": "ALiBi: a slope per head",
    "gemma2": "windows, soft caps, norms on both sides",
    "opt-350m": "projections around the blocks",
    "olmo2": "norms over all heads",
    "cohere-norms": "norms with weights per head",
    "phi3": "fused gate and up",
    "deepseek_v2": "latent attention, groups of experts, shared experts",
    "gpt_oss": "sinks, biases of experts",
    "qwen2_moe-sparse": "six experts on two devices, a gated shared expert",
}
# One case for each mechanism is compiled with all optimizations, as in use; many tokens make many
# blocks of attention.
OPTIMIZED = (
    "llama-gqa",
    "gpt2",
    "mixtral",
    "falcon-rw",
    "cohere2",
    "gemma2",
    "qwen3",
    "phi3-long",
    "deepseek_v2",
    "gpt_oss",
)
# These must pass a length that their config names, as phi3-long must.
_BEYOND_A_LENGTH = ("falcon-7b-biases", "phi3-partial", "qwen-beyond", "internlm2-dynamic")


def n_tokens(case: str) -> int:
    """Tokens per row of a case."""
    return LONG if case in (*OPTIMIZED, *_BEYOND_A_LENGTH) else SHORT


def ids(n: int) -> np.ndarray:
    """Token ids for all cases of `n` tokens per row: [N_ROWS, n] int32."""
    return np.random.RandomState(0).randint(0, VOCAB, (N_ROWS, n)).astype(np.int32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 values of a tensor. Norms are around 1, all else around 0."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    # At 0.3 torch itself is off its own float64 by 1.7e-5: rounding, blown up by the model.
    values = 0.1 * random.standard_normal(shape)
    is_norm = (len(shape) == 1 or "_norm." in name) and name.endswith("weight")
    return (values + is_norm).astype(np.float32)


def write_model(folder, config: dict, shapes: dict) -> None:
    """A Hugging Face folder of `config` whose tensors have the values of `weight`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: weight(name, tuple(shape)) for name, shape in shapes.items()}
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
