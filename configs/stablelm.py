"""StableLM on the paper's three corpora.

python -m jaxbpc.main --config configs/stablelm.py:2-1.6b
"""

from jaxbpc import config as config_lib

PATHS = {
    "3b": "stabilityai/stablelm-3b-4e1t",
    "2-1.6b": "stabilityai/stablelm-2-1_6b",
    "2-12b": "stabilityai/stablelm-2-12b",
}


def get_config(size: str = "2-1.6b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
