"""SmolLM 1, 2 and 3 on the paper's three corpora.

python -m jaxbpc.main --config configs/smollm.py:2-135m
"""

from jaxbpc import config as config_lib

PATHS = {
    "135m": "HuggingFaceTB/SmolLM-135M",
    "360m": "HuggingFaceTB/SmolLM-360M",
    "1.7b": "HuggingFaceTB/SmolLM-1.7B",
    "2-135m": "HuggingFaceTB/SmolLM2-135M",
    "2-360m": "HuggingFaceTB/SmolLM2-360M",
    "2-1.7b": "HuggingFaceTB/SmolLM2-1.7B",
    "3-3b": "HuggingFaceTB/SmolLM3-3B-Base",
}


def get_config(size: str = "2-135m"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
