"""Llama 1, 2, 3 and models built on them on the paper's three corpora.

  python -m jaxbpc.main --config configs/llama.py:2-7b

Published BPC (arXiv 2404.09937, its repository, or OpenCompass), window 1900, stride 512:

         commoncraw  python  arxiv_math  average
  1-7b        0.629   0.379       0.510    0.506
  1-13b       0.609   0.356       0.487    0.484
  1-30b       0.577   0.321       0.456    0.452
  1-65b       0.557   0.308       0.441    0.435
  2-7b        0.612   0.354       0.500    0.488
  2-13b       0.581   0.334       0.475    0.463
  2-70b       0.527   0.287       0.429    0.415
  3-8b        0.582   0.268       0.430    0.427
  3-70b       0.496   0.204       0.376    0.359

The hub's Llama repositories ask for a licence to be accepted (`hf auth login`).
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
    "3.1-8b": "meta-llama/Llama-3.1-8B",
    "3.1-70b": "meta-llama/Llama-3.1-70B",
    "3.1-405b": "meta-llama/Llama-3.1-405B",
    "3.2-1b": "meta-llama/Llama-3.2-1B",
    "3.2-3b": "meta-llama/Llama-3.2-3B",
    "code-7b": "codellama/CodeLlama-7b-hf",
    "code-13b": "codellama/CodeLlama-13b-hf",
    "code-34b": "codellama/CodeLlama-34b-hf",
    "llemma-7b": "EleutherAI/llemma_7b",
    "llemma-34b": "EleutherAI/llemma_34b",
}


def get_config(size: str = "2-7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
