"""Yi on the paper's three corpora.

  python -m jaxbpc.main --config configs/yi.py:6b

Published BPC (arXiv 2404.09937, its repository, or OpenCompass), window 1900, stride 512:

       commoncraw  python  arxiv_math  average
  6b        0.638   0.351       0.483    0.491
  34b       0.572   0.297       0.421    0.430
"""

from jaxbpc import config as config_lib

PATHS = {
    "6b": "01-ai/Yi-6B",
    "34b": "01-ai/Yi-34B",
    "1.5-6b": "01-ai/Yi-1.5-6B",
    "1.5-9b": "01-ai/Yi-1.5-9B",
    "1.5-34b": "01-ai/Yi-1.5-34B",
}


def get_config(size: str = "6b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
