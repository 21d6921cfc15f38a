"""Falcon on the paper's three corpora.

  python -m jaxbpc.main --config configs/falcon.py:7b

Published BPC (arXiv 2404.09937, its repository, or OpenCompass), window 1900, stride 512:

       commoncraw  python  arxiv_math  average
  7b        0.649   0.393       0.541    0.528
  40b       0.593   0.320       0.482    0.465
"""

from jaxbpc import config as config_lib

PATHS = {
    "rw-1b": "tiiuae/falcon-rw-1b",
    "7b": "tiiuae/falcon-7b",
    "40b": "tiiuae/falcon-40b",
}


def get_config(size: str = "7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
