"""Gemma 1, 2 and 3 on the paper's three corpora.

  python -m jaxbpc.main --config configs/gemma.py:3-270m

The hub's Gemma repositories ask for a licence to be accepted (`hf auth login`).
"""

from jaxbpc import config as config_lib

PATHS = {
    "2b": "google/gemma-2b",
    "7b": "google/gemma-7b",
    "2-2b": "google/gemma-2-2b",
    "2-9b": "google/gemma-2-9b",
    "2-27b": "google/gemma-2-27b",
    "3-270m": "google/gemma-3-270m",
    "3-1b": "google/gemma-3-1b-pt",
    "3-4b": "google/gemma-3-4b-pt",
    "3-12b": "google/gemma-3-12b-pt",
    "3-27b": "google/gemma-3-27b-pt",
}


def get_config(size: str = "3-270m"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
