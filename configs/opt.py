"""OPT on the paper's three corpora.

python -m jaxbpc.main --config configs/opt.py:1.3b
"""

from jaxbpc import config as config_lib

PATHS = {
    "125m": "facebook/opt-125m",
    "350m": "facebook/opt-350m",
    "1.3b": "facebook/opt-1.3b",
    "2.7b": "facebook/opt-2.7b",
    "6.7b": "facebook/opt-6.7b",
    "13b": "facebook/opt-13b",
    "30b": "facebook/opt-30b",
    "66b": "facebook/opt-66b",
}


def get_config(size: str = "1.3b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
