"""Granite 3 on the paper's three corpora.

python -m jaxbpc.main --config configs/granite.py:3.1-2b
"""

from jaxbpc import config as config_lib

PATHS = {
    "3.1-2b": "ibm-granite/granite-3.1-2b-base",
    "3.1-8b": "ibm-granite/granite-3.1-8b-base",
}


def get_config(size: str = "3.1-2b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
