"""Command R on the paper's three corpora.

python -m jaxbpc.main --config configs/cohere.py:r
"""

from jaxbpc import config as config_lib

PATHS = {
    "r": "CohereLabs/c4ai-command-r-v01",
    "r7b": "CohereLabs/c4ai-command-r7b-12-2024",
    "r-plus": "CohereLabs/c4ai-command-r-plus",
}


def get_config(size: str = "r"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
