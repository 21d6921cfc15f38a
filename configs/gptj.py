"""GPT-J on the paper's three corpora.

python -m jaxbpc.main --config configs/gptj.py:6b
"""

from jaxbpc import config as config_lib

PATHS = {
    "6b": "EleutherAI/gpt-j-6b",
}


def get_config(size: str = "6b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
