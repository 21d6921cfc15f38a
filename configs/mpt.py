"""MPT on the paper's three corpora.

python -m jaxbpc.main --config configs/mpt.py:7b
"""

from jaxbpc import config as config_lib

PATHS = {
    "7b": "mosaicml/mpt-7b",
    "30b": "mosaicml/mpt-30b",
}


def get_config(size: str = "7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
