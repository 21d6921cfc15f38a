"""GLM-4 on the paper's three corpora.

python -m jaxbpc.main --config configs/glm.py:4-9b
"""

from jaxbpc import config as config_lib

PATHS = {
    "4-9b": "zai-org/GLM-4-9B-0414",
    "4-32b": "zai-org/GLM-4-32B-Base-0414",
}


def get_config(size: str = "4-9b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
