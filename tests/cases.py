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

N_ROWS, N_TOKENS, VOCAB = 8, 301, cases_llama.VOCAB
GOLDEN_ROWS, GOLDEN_STEP = 2, 4

# Case → (model_type, fields of its config). One or more of each family is also run on a mesh of all
# three axes.
_TABLES = (cases_falcon, cases_gemma, cases_gpt, cases_llama, cases_moe, cases_olmo, cases_qwen)
CASES = {name: case for table in _TABLES for name, case in table.CASES.items()}
ON_A_MESH = [name for table in _TABLES for name in table.ON_A_MESH]


def ids() -> np.ndarray:
    """The token ids of every case: [N_ROWS, N_TOKENS] int32."""
    return np.random.RandomState(0).randint(0, VOCAB, (N_ROWS, N_TOKENS)).astype(np.int32)


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
