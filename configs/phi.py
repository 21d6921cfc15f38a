"""Phi 1.5, 2, 3 and 4 on the paper's three corpora.

python -m jaxbpc.main --config configs/phi.py:2
"""

from jaxbpc import config as config_lib

PATHS = {
    "1.5": "microsoft/phi-1_5",
    "2": "microsoft/phi-2",
    "3-mini": "microsoft/Phi-3-mini-4k-instruct",
    "3-mini-128k": "microsoft/Phi-3-mini-128k-instruct",
    "4": "microsoft/phi-4",
    "4-mini": "microsoft/Phi-4-mini-instruct",
}


def get_config(size: str = "2"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
