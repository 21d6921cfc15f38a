"""Gemma 3 as published from 4B on, with eyes: its language model alone reads text.

Source: `modeling_gemma3.py` (`Gemma3ForConditionalGeneration`) and `configuration_gemma3.py` of
Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import gemma3_text
from jaxbpc.models.hf_config import Fields

NAMES = gemma3_text.NAMES
# As published, and as transformers 4.52 and later name them.
PREFIXES = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
}
_EYES = ("vision_tower.*", "multi_modal_projector.*")
UNUSED = (*gemma3_text.UNUSED, *_EYES, *(f"model.{name}" for name in _EYES))


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    fields.ignore("vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index")
    fields.ignore("image_token_index", "image_token_id", "boi_token_id", "eoi_token_id")
    tied = fields.get("tie_word_embeddings", bool, True)
    text = fields.get("text_config", dict)
    inner = Fields(text, f"{where}: text_config")
    # Of the language model alone; here they are not read.
    inner.refuse_unless(final_logit_softcapping=(), tie_word_embeddings=(tied,))
    inner.refuse_unless(model_type=("gemma3_text",))
    arch = gemma3_text.to_arch(text, inner.where)
    fields.finish()
    return dataclasses.replace(arch, family="gemma3", tied=tied)
