"""StarCoder2: layer norms, biases, a plain MLP, RoPE, a sliding window in every layer.

Source: `modeling_starcoder2.py` and `configuration_starcoder2.py` of Hugging Face transformers;
arXiv 2402.19173.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm
from jaxbpc.models.families import llama, mistral
from jaxbpc.models.hf_config import Fields, read_heads
from jaxbpc.models.hf_rope import fit_rope, read_rope

_LAYER, _OURS = "model.layers.{l}", "layers.{l}"
_BIASES = {
    f"{_LAYER}.input_layernorm.bias": f"{_OURS}.attention_norm.bias",
    f"{_LAYER}.post_attention_layernorm.bias": f"{_OURS}.mlp_norm.bias",
    "model.norm.bias": "norm.bias",
}
_MLP = {
    f"{_LAYER}.mlp.{theirs}.{kind}": f"{_OURS}.mlp.{ours}.{kind}"
    for theirs, ours in {"c_fc": "up", "c_proj": "down"}.items()
    for kind in ("weight", "bias")
}
NAMES = {name: to for name, to in llama.NAMES.items() if ".mlp." not in name} | _BIASES | _MLP
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, max_position_embeddings=4096)
    fields.ignore("residual_dropout", "embedding_dropout")
    fields.refuse_unless(norm_type=("layer_norm",), mlp_type=("default",))
    n_heads, n_kv_heads, head_size = read_heads(fields, n_kv_default=2)
    rope = fit_rope(fields, read_rope(fields, whole=True), head_size)
    bias = fields.get("use_bias", bool, True)
    arch = Arch(
        family="starcoder2",
        embed=fields.get("hidden_size", int),
        vocab_size=fields.get("vocab_size", int, 49152),
        max_length=fields.get("max_position_embeddings", int),
        layers=(Layer(rope=rope),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads, n_kv_heads, head_size, scale=head_size**-0.5, bias=bias, out_bias=bias
        ),
        mlp=MLP(
            fields.get("intermediate_size", int),
            fields.activation("hidden_act", "gelu_pytorch_tanh"),
            gated=False,
            bias=bias,
        ),
        norm=Norm(fields.get("norm_epsilon", float, 1e-5), "layer", bias=True),
        tied=fields.get("tie_word_embeddings", bool, True),
    )
    arch = mistral.windowed(arch, fields)
    fields.finish()
    return arch
