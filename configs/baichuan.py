"""Baichuan 1 and 2 on the paper's three corpora.

python -m jaxbpc.main --config configs/baichuan.py:2-7b
"""

from jaxbpc import config as config_lib

PATHS = {
    "7b": "baichuan-inc/Baichuan-7B",
    "13b": "baichuan-inc/Baichuan-13B-Base",
    "2-7b": "baichuan-inc/Baichuan2-7B-Base",
    "2-13b": "baichuan-inc/Baichuan2-13B-Base",
}


def get_config(size: str = "2-7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
