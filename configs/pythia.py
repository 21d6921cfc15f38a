"""Pythia, with checkpoints of all their training, on the paper's three corpora.

  python -m jaxbpc.main --config configs/pythia.py:160m

A checkpoint of the training: --config.model.revision=step3000; many: --revisions=step1000,step3000.
"""

from jaxbpc import config as config_lib

PATHS = {
    "14m": "EleutherAI/pythia-14m",
    "31m": "EleutherAI/pythia-31m",
    "70m": "EleutherAI/pythia-70m",
    "160m": "EleutherAI/pythia-160m",
    "410m": "EleutherAI/pythia-410m",
    "1b": "EleutherAI/pythia-1b",
    "1.4b": "EleutherAI/pythia-1.4b",
    "2.8b": "EleutherAI/pythia-2.8b",
    "6.9b": "EleutherAI/pythia-6.9b",
    "12b": "EleutherAI/pythia-12b",
}


def get_config(size: str = "160m"):
    """The config of one size, a key of PATHS."""
    config = config_lib.of_size(PATHS, size)
    config.training.tokens_per_step = 1024.0 * 2048  # arXiv 2304.01373
    return config
