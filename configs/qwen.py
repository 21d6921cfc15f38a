"""Qwen 1, 1.5, 2, 2.5 and 3 on the paper's three corpora.

  python -m jaxbpc.main --config configs/qwen.py:2.5-7b

Published BPC (arXiv 2404.09937, its repository, or OpenCompass), window 1900, stride 512:

            commoncraw  python  arxiv_math  average
  1-1.8b        0.7542  0.4175      0.5842   0.5853
  1-7b           0.645   0.309       0.483    0.479
  1-14b          0.620   0.285       0.450    0.451
  1-72b          0.557   0.256       0.415    0.409
  1.5-0.5b      0.8102  0.4520      0.6181   0.6268
  1.5-1.8b      0.7448  0.4029      0.5625   0.5701
  1.5-7b         0.666   0.292       0.449    0.469
  1.5-14b        0.646   0.275       0.430    0.450
  1.5-32b        0.591   0.257       0.407    0.418
  1.5-72b        0.560   0.256       0.417    0.411
  1.5-110b       0.531   0.224       0.410    0.388
  2-72b          0.550   0.207       0.390    0.383
"""

from jaxbpc import config as config_lib

PATHS = {
    "1-1.8b": "Qwen/Qwen-1_8B",
    "1-7b": "Qwen/Qwen-7B",
    "1-14b": "Qwen/Qwen-14B",
    "1-72b": "Qwen/Qwen-72B",
    "1.5-0.5b": "Qwen/Qwen1.5-0.5B",
    "1.5-1.8b": "Qwen/Qwen1.5-1.8B",
    "1.5-7b": "Qwen/Qwen1.5-7B",
    "1.5-14b": "Qwen/Qwen1.5-14B",
    "1.5-32b": "Qwen/Qwen1.5-32B",
    "1.5-72b": "Qwen/Qwen1.5-72B",
    "1.5-110b": "Qwen/Qwen1.5-110B",
    "1.5-moe-a2.7b": "Qwen/Qwen1.5-MoE-A2.7B",
    "2-0.5b": "Qwen/Qwen2-0.5B",
    "2-1.5b": "Qwen/Qwen2-1.5B",
    "2-7b": "Qwen/Qwen2-7B",
    "2-57b-a14b": "Qwen/Qwen2-57B-A14B",
    "2-72b": "Qwen/Qwen2-72B",
    "2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "2.5-1.5b": "Qwen/Qwen2.5-1.5B",
    "2.5-3b": "Qwen/Qwen2.5-3B",
    "2.5-7b": "Qwen/Qwen2.5-7B",
    "2.5-14b": "Qwen/Qwen2.5-14B",
    "2.5-32b": "Qwen/Qwen2.5-32B",
    "2.5-72b": "Qwen/Qwen2.5-72B",
    "2.5-coder-7b": "Qwen/Qwen2.5-Coder-7B",
    "2.5-math-7b": "Qwen/Qwen2.5-Math-7B",
    "3-0.6b": "Qwen/Qwen3-0.6B-Base",
    "3-1.7b": "Qwen/Qwen3-1.7B-Base",
    "3-4b": "Qwen/Qwen3-4B-Base",
    "3-8b": "Qwen/Qwen3-8B-Base",
    "3-14b": "Qwen/Qwen3-14B-Base",
    "3-30b-a3b": "Qwen/Qwen3-30B-A3B-Base",
}


def get_config(size: str = "2.5-7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
