"""StarCoder 1 and 2 on the paper's three corpora.

python -m jaxbpc.main --config configs/starcoder.py:2-3b
"""

from jaxbpc import config as config_lib

PATHS = {
    "1b": "bigcode/starcoderbase-1b",
    "3b": "bigcode/starcoderbase-3b",
    "7b": "bigcode/starcoderbase-7b",
    "15b": "bigcode/starcoder",
    "santa": "bigcode/gpt_bigcode-santacoder",
    "2-3b": "bigcode/starcoder2-3b",
    "2-7b": "bigcode/starcoder2-7b",
    "2-15b": "bigcode/starcoder2-15b",
}


def get_config(size: str = "2-3b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
