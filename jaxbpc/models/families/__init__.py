"""The families that the decoder can be, by `model_type` of their config.json.

A family is a pure module with `to_arch(config, where) -> Arch` and `NAMES`: the tensor names of
its checkpoints → parameters of the decoder, `{l}` standing for the layer. Adding one is one file
and one line here.
"""

from types import ModuleType

from jaxbpc.models.families import gpt2, llama, mistral, mixtral

FAMILIES: dict[str, ModuleType] = {
    "gpt2": gpt2,
    "llama": llama,
    "mistral": mistral,
    "mixtral": mixtral,
}
