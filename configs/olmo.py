"""OLMo 1, 2 and 3 on the paper's three corpora.

python -m jaxbpc.main --config configs/olmo.py:2-7b
"""

from jaxbpc import config as config_lib

PATHS = {
    "1b": "allenai/OLMo-1B-hf",
    "7b": "allenai/OLMo-7B-hf",
    "2-1b": "allenai/OLMo-2-0425-1B",
    "2-7b": "allenai/OLMo-2-1124-7B",
    "2-13b": "allenai/OLMo-2-1124-13B",
    "2-32b": "allenai/OLMo-2-0325-32B",
    "3-7b": "allenai/Olmo-3-1025-7B",
    "3-32b": "allenai/Olmo-3-1125-32B",
}


def get_config(size: str = "2-7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
