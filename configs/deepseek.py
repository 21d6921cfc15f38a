"""DeepSeek-LLM, -Coder, -Math, V2 and V3 on the paper's three corpora.

  python -m jaxbpc.main --config configs/deepseek.py:llm-7b

Published BPC (arXiv 2404.09937, its repository, or OpenCompass), window 1900, stride 512:

           commoncraw  python  arxiv_math  average
  llm-7b        0.635   0.338       0.500    0.491
  llm-67b       0.568   0.280       0.430    0.426
  v2            0.529   0.243       0.400    0.391
"""

from jaxbpc import config as config_lib

PATHS = {
    "llm-7b": "deepseek-ai/deepseek-llm-7b-base",
    "llm-67b": "deepseek-ai/deepseek-llm-67b-base",
    "coder-1.3b": "deepseek-ai/deepseek-coder-1.3b-base",
    "coder-6.7b": "deepseek-ai/deepseek-coder-6.7b-base",
    "coder-33b": "deepseek-ai/deepseek-coder-33b-base",
    "math-7b": "deepseek-ai/deepseek-math-7b-base",
    "v2-lite": "deepseek-ai/DeepSeek-V2-Lite",
    "v2": "deepseek-ai/DeepSeek-V2",
    "v3": "deepseek-ai/DeepSeek-V3-Base",
}


def get_config(size: str = "llm-7b"):
    """The config of one size, a key of PATHS."""
    return config_lib.of_size(PATHS, size)
