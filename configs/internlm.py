"""InternLM 2 on the paper's three corpora.

python -m jaxbpc.main --config configs/internlm.py:2-7b
"""

from jaxbpc import config as config_lib

PATHS = {
    "2-1.8b": "internlm/internlm2-1_8b",
    "2-7b": "internlm/internlm2-7b",
    "2-20b": "internlm/internlm2-20b",
    "2.5-7b": "internlm/internlm2_5-7b",
}


def get_config(size: str = "2-7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
