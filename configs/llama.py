"""Llama 1, 2 and 3 on the paper's three corpora.

  python -m jaxbpc.main --config configs/llama.py:2-7b

BPC published by the authors of the paper (commoncraw, python, arxiv_math; average), window 1900,
stride 512:

  1-7b    0.629 0.379 0.510; 0.506        2-7b    0.612 0.354 0.500; 0.488
  1-13b   0.609 0.356 0.487; 0.484        2-13b   0.581 0.334 0.475; 0.463
  1-30b   0.577 0.321 0.456; 0.452        2-70b   0.527 0.287 0.429; 0.415
  1-65b   0.557 0.308 0.441; 0.435        3-8b    0.582 0.268 0.430; 0.427
                                          3-70b   0.496 0.204 0.376; 0.359

The hub's Llama repositories ask for a licence to be accepted (`hf auth login`); a local folder is
given as --config.model.path=FOLDER.
"""

from jaxbpc import config as config_lib

PATHS = {
    "1-7b": "huggyllama/llama-7b",
    "1-13b": "huggyllama/llama-13b",
    "1-30b": "huggyllama/llama-30b",
    "1-65b": "huggyllama/llama-65b",
    "2-7b": "meta-llama/Llama-2-7b-hf",
    "2-13b": "meta-llama/Llama-2-13b-hf",
    "2-70b": "meta-llama/Llama-2-70b-hf",
    "3-8b": "meta-llama/Meta-Llama-3-8B",
    "3-70b": "meta-llama/Meta-Llama-3-70B",
    "3.1-405b": "meta-llama/Llama-3.1-405B",
}


def get_config(size: str = "2-7b"):
    """The config of one generation and size, a key of PATHS."""
    if size not in PATHS:
        raise ValueError(f"configs/llama.py:{size}: sizes are {', '.join(PATHS)}")
    config = config_lib.default()
    config.model.path = PATHS[size]
    return config
