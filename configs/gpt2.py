"""GPT-2 on the paper's three corpora.

  python -m jaxbpc.main --config configs/gpt2.py:small

GPT-2 knows 1024 positions: its windows are of 1024 tokens, its number is another than the paper's.
"""

from jaxbpc import config as config_lib

PATHS = {
    "small": "openai-community/gpt2",
    "medium": "openai-community/gpt2-medium",
    "large": "openai-community/gpt2-large",
    "xl": "openai-community/gpt2-xl",
}


def get_config(size: str = "small"):
    """The config of one size, a key of PATHS."""
    config = config_lib.of_size(PATHS, size)
    config.window.block_size = 1024
    return config
