"""The families that the decoder can be, by `model_type` of their config.json.

A family is a pure module with `to_arch(config, where) -> Arch` and `NAMES`: the tensor names of
its checkpoints → parameters of the decoder, `{l}` standing for the layer. Adding one is one file
and one line here.
"""

from types import ModuleType

from jaxbpc.models.families import (
    falcon,
    gpt2,
    gpt_bigcode,
    gpt_neox,
    gptj,
    llama,
    mistral,
    mixtral,
    mpt,
    opt,
    phi,
    phi3,
    starcoder2,
)

FAMILIES: dict[str, ModuleType] = {
    "falcon": falcon,
    "gpt2": gpt2,
    "gpt_bigcode": gpt_bigcode,
    "gpt_neox": gpt_neox,
    "gptj": gptj,
    "llama": llama,
    "mistral": mistral,
    "mixtral": mixtral,
    "mpt": mpt,
    "opt": opt,
    "phi": phi,
    "phi3": phi3,
    "starcoder2": starcoder2,
}
