"""Mistral and Mixtral on the paper's three corpora.

  python -m jaxbpc.main --config configs/mistral.py:7b

Published BPC (arXiv 2404.09937, its repository, or OpenCompass), window 1900, stride 512:

         commoncraw  python  arxiv_math  average
  7b          0.605   0.310       0.443    0.453
  8x7b        0.559   0.274       0.394    0.409
  8x22b       0.526   0.250       0.361    0.379
"""

from jaxbpc import config as config_lib

PATHS = {
    "7b": "mistralai/Mistral-7B-v0.1",
    "7b-v0.3": "mistralai/Mistral-7B-v0.3",
    "8x7b": "mistralai/Mixtral-8x7B-v0.1",
    "8x22b": "mistralai/Mixtral-8x22B-v0.1",
}


def get_config(size: str = "7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
