"""Nemotron and Minitron on the paper's three corpora.

python -m jaxbpc.main --config configs/nemotron.py:4-mini-4b
"""

from jaxbpc import config as config_lib

PATHS = {
    "4-mini-4b": "nvidia/Nemotron-Mini-4B-Instruct",
    "minitron-4b": "nvidia/Minitron-4B-Base",
    "minitron-8b": "nvidia/Minitron-8B-Base",
}


def get_config(size: str = "4-mini-4b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
