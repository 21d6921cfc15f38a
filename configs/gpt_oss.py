"""gpt-oss on the paper's three corpora.

python -m jaxbpc.main --config configs/gpt_oss.py:20b
"""

from jaxbpc import config as config_lib

PATHS = {
    "20b": "openai/gpt-oss-20b",
    "120b": "openai/gpt-oss-120b",
}


def get_config(size: str = "20b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
