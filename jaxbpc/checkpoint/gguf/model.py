"""A GGUF file's fields and tensor names → config.json and Hugging Face's names.

What a file holds beyond these tables is refused by name, never ignored.
Source: `conversion/` and `src/models/` of llama.cpp, for names, the permutation, the shift of the
norms, Gemma 3's scale and pattern of layers, and Llama 3's factors of RoPE.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbpc.checkpoint.gguf.reader import Tensor
from jaxbpc.errors import InputError
from jaxbpc.models.hf_config import Fields

# GGUF's name in a layer → Hugging Face's, and the shape: D model, Q queries, K keys, H head, F mlp.
_Names = dict[str, tuple[str, str]]
_PLAIN: _Names = {
    "attn_norm.weight": ("input_layernorm.weight", "D"),
    "attn_q.weight": ("self_attn.q_proj.weight", "QD"),
    "attn_k.weight": ("self_attn.k_proj.weight", "KD"),
    "attn_v.weight": ("self_attn.v_proj.weight", "KD"),
    "attn_output.weight": ("self_attn.o_proj.weight", "DQ"),
    "ffn_norm.weight": ("post_attention_layernorm.weight", "D"),
    "ffn_gate.weight": ("mlp.gate_proj.weight", "FD"),
    "ffn_up.weight": ("mlp.up_proj.weight", "FD"),
    "ffn_down.weight": ("mlp.down_proj.weight", "DF"),
}
_QKV_BIAS: _Names = {
    "attn_q.bias": ("self_attn.q_proj.bias", "Q"),
    "attn_k.bias": ("self_attn.k_proj.bias", "K"),
    "attn_v.bias": ("self_attn.v_proj.bias", "K"),
}
_ATTENTION_BIAS: _Names = {**_QKV_BIAS, "attn_output.bias": ("self_attn.o_proj.bias", "D")}
_MLP_BIAS: _Names = {
    "ffn_gate.bias": ("mlp.gate_proj.bias", "F"),
    "ffn_up.bias": ("mlp.up_proj.bias", "F"),
    "ffn_down.bias": ("mlp.down_proj.bias", "D"),
}
_HEAD_NORMS: _Names = {
    "attn_q_norm.weight": ("self_attn.q_norm.weight", "H"),
    "attn_k_norm.weight": ("self_attn.k_norm.weight", "H"),
}
_SANDWICH: _Names = {
    "post_attention_norm.weight": ("post_attention_layernorm.weight", "D"),
    "ffn_norm.weight": ("pre_feedforward_layernorm.weight", "D"),
    "post_ffw_norm.weight": ("post_feedforward_layernorm.weight", "D"),
}
_TOP: _Names = {
    "token_embd.weight": ("model.embed_tokens.weight", "VD"),
    "output_norm.weight": ("model.norm.weight", "D"),
    "output.weight": ("lm_head.weight", "VD"),
}
_ROPE_FACTORS = "rope_freqs.weight"


@dataclasses.dataclass(frozen=True)
class _Family:
    """What differs between architectures."""

    model_type: str
    model_class: str
    names: _Names
    permuted: bool = False  # query and key rows
    shift: float = 0.0  # what was added to the norms


_FAMILIES = {
    "llama": _Family("llama", "LlamaForCausalLM", _PLAIN, permuted=True),
    "qwen2": _Family("qwen2", "Qwen2ForCausalLM", _PLAIN | _QKV_BIAS),
    "qwen3": _Family("qwen3", "Qwen3ForCausalLM", _PLAIN | _HEAD_NORMS),
    "gemma3": _Family(
        "gemma3_text", "Gemma3ForCausalLM", _PLAIN | _HEAD_NORMS | _SANDWICH, shift=1.0
    ),
}
# Fields of an architecture that say nothing at these values alone.
_SILENT = {
    "expert_count": 0,
    "expert_used_count": 0,
    "attention.causal": True,
    "rope.scaling.attn_factor": 1.0,
    "rope.scaling.yarn_ext_factor": 1.0,
}


@dataclasses.dataclass(frozen=True)
class Part:
    """A tensor to be written: its name, whence, how many heads to un-permute, what to take off."""

    name: str
    tensor: Tensor
    heads: int = 0
    shift: float = 0.0


def read(
    fields: Mapping[str, Any], tensors: Mapping[str, Tensor], file: pathlib.Path
) -> tuple[dict[str, Any], list[Part]]:
    """(config.json, what to write).

    Raises:
      InputError: an architecture that is not handled; all fields and tensors without a place.
    """
    architecture = fields.get("general.architecture")
    family = _FAMILIES.get(str(architecture))
    if family is None or fields.get("general.type", "model") != "model":
        raise InputError(
            f"{file}: {fields.get('general.type', 'model')} of architecture {architecture!r}: "
            f"converted are models of {', '.join(_FAMILIES)}"
        )
    if fields.get("split.count", 0) > 1:
        raise InputError(
            f"{file}: one of {fields['split.count']} parts: join them by llama-gguf-split --merge"
        )
    own = {
        name.removeprefix(f"{architecture}."): value.tolist() if hasattr(value, "tolist") else value
        for name, value in fields.items()
        if name.startswith(f"{architecture}.")
    }
    own = {k: v for k, v in own.items() if k not in _SILENT or v != _SILENT[k]}
    asked = Fields(own, f"{file}: {architecture}")
    config = _config(family, asked, tensors)
    config |= {
        f"{name}_token_id": fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")
    }
    faults = []
    try:
        asked.finish()
    except InputError as e:
        faults.append(str(e))
    names, tensor_faults = _names(family, config, tensors)
    faults += tensor_faults
    if faults:
        where = "" if len(faults) > len(tensor_faults) else f"{file}: "  # it is named once
        raise InputError(f"{where}{'; '.join(faults)}: convert another file of this model")
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    return config, [
        Part(
            name,
            tensors[stored],
            heads.get(name.split(".")[-2], 0) if family.permuted else 0,
            family.shift if name.endswith("norm.weight") else 0.0,
        )
        for stored, name in names.items()
    ]


def _config(family: _Family, fields: Fields, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    embed, n_heads = fields.get("embedding_length", int), fields.get("attention.head_count", int)
    n_layers = fields.get("block_count", int)
    if n_layers > len(tensors):
        raise InputError(
            f"{fields.where}: {n_layers} layers in {len(tensors)} tensors: damaged, download it "
            "again"
        )
    head = fields.get("attention.key_length", int, embed // n_heads)
    if head % 2 or ("attention.key_length" not in fields.config and embed % n_heads):
        raise InputError(
            f"{fields.where}: {n_heads} heads of {head} dimensions for {embed}: damaged, download "
            "it again"
        )
    fields.refuse_unless(**{"attention.value_length": (head,), "rope.dimension_count": (head,)})
    fields.ignore("vocab_size")  # the embedding has it
    embedding = tensors.get("token_embd.weight")
    config = {
        "architectures": [family.model_class],
        "model_type": family.model_type,
        "hidden_size": embed,
        "intermediate_size": fields.get("feed_forward_length", int),
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": fields.get("attention.head_count_kv", int, n_heads),
        "head_dim": head,
        "max_position_embeddings": fields.get("context_length", int),
        "rms_norm_eps": fields.get("attention.layer_norm_rms_epsilon", float),
        "rope_theta": fields.get("rope.freq_base", float, 10000.0),
        "vocab_size": embedding.shape[0] if embedding else 0,
        "tie_word_embeddings": "output.weight" not in tensors,
        "dtype": "float32",
    }
    if scaling := _rope_scaling(family, fields, config, tensors):
        config["rope_scaling"] = scaling
    for field, bias in (("attention_bias", "attn_q.bias"), ("mlp_bias", "ffn_up.bias")):
        if family.model_type == "llama" and f"blk.0.{bias}" in tensors:
            config[field] = True
    if family.model_type == "qwen2" and head * n_heads == embed:
        del config["head_dim"]  # as in its own files
    if family.model_type == "gemma3_text":
        return config | _gemma3(fields, config)
    return config | {"hidden_act": "silu"}


def _gemma3(fields: Fields, config: Mapping[str, Any]) -> dict[str, Any]:
    """Five layers of six see a window and turn fast; 27B, of 62 layers, scales as no other."""
    n_layers = config["num_hidden_layers"]
    pattern = fields.get("attention.sliding_window_pattern", int, 6)
    scalar = config["head_dim"]
    if n_layers == 62:
        scalar = config["hidden_size"] // config["num_attention_heads"]
    own = {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar,
        "sliding_window": fields.get("attention.sliding_window", int),
        "layer_types": [
            "sliding_attention" if i % pattern else "full_attention" for i in range(1, n_layers + 1)
        ],
        "rope_local_base_freq": fields.get("rope.freq_base_swa", float, 10000.0),
    }
    if fields.optional("final_logit_softcapping") is not None:
        own["final_logit_softcapping"] = fields.get("final_logit_softcapping", float)
    return own


def _rope_scaling(
    family: _Family, fields: Fields, config: Mapping[str, Any], tensors
) -> dict[str, Any] | None:
    """`rope_scaling`: linear, yarn, or Llama 3's, which GGUF stores as a tensor of factors."""
    kinds = ("none", "linear") if family.shift else ("none", "linear", "yarn")
    kind = fields.choice("rope.scaling.type", kinds, "linear")
    factor = fields.get("rope.scaling.factor", float, fields.get("rope.scale_linear", float, 1.0))
    fields.ignore("rope.scaling.finetuned")
    original = fields.get(
        "rope.scaling.original_context_length", int, config["max_position_embeddings"]
    )
    scaling: dict[str, Any] | None = None
    if kind == "yarn":
        fields.get("rope.scaling.factor", float)  # it has no default
        scaling = {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
            "beta_fast": fields.get("rope.scaling.yarn_beta_fast", float, 32.0),
            "beta_slow": fields.get("rope.scaling.yarn_beta_slow", float, 1.0),
        }
    elif kind == "linear" and factor != 1:
        scaling = {"rope_type": "linear", "factor": factor}
    if _ROPE_FACTORS not in tensors or not family.permuted:
        return scaling
    llama3 = _llama3(tensors[_ROPE_FACTORS], config["rope_theta"], config["head_dim"])
    if llama3 is None or (llama3 and scaling):
        raise InputError(
            f"{fields.where}: the factors in {_ROPE_FACTORS} are not those of Llama 3.1, or stand "
            "beside another scaling of RoPE: convert another file of this model"
        )
    return llama3 or scaling


def _llama3(tensor: Tensor, theta: float, head: int) -> dict[str, Any] | None:
    """The settings that give the stored divisors of RoPE's frequencies: Llama 3.1's, {} for none
    but ones, None for others."""
    if tensor.shape != (head // 2,) or not _readable(tensor.kind):
        return None
    stored = next(tensor.values()).ravel()
    if (stored == 1).all():
        return {}
    factor, low, high, length = float(str(stored.max())), 1.0, 4.0, 8192
    turns = length * theta ** (-np.arange(0, head, 2) / head) / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    if not np.allclose(stored, 1 / ((1 - smooth) / factor + smooth), rtol=1e-5, atol=0):
        return None
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": length,
    }


def _names(
    family: _Family, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, str], list[str]]:
    """(GGUF's names → Hugging Face's, faults: what is unknown, missing, or of a wrong shape)."""
    layer = dict(family.names)
    layer |= _ATTENTION_BIAS if config.get("attention_bias") else {}
    layer |= _MLP_BIAS if config.get("mlp_bias") else {}
    head = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    sizes = {
        "D": config["hidden_size"],
        "Q": config["num_attention_heads"] * head,
        "K": config["num_key_value_heads"] * head,
        "H": head,
        "F": config["intermediate_size"],
        "V": config["vocab_size"],
    }
    want = {k: v for k, v in _TOP.items() if k in tensors or k != "output.weight"}
    for i in range(config["num_hidden_layers"]):
        for stored, (name, letters) in layer.items():
            want[f"blk.{i}.{stored}"] = (f"model.layers.{i}.{name}", letters)
    faults: dict[str, set[str]] = {}
    for stored in tensors.keys() | want.keys():
        short = re.sub(r"^blk\.\d+\.", "blk.N.", stored)
        if stored not in tensors:
            faults.setdefault("tensors are missing", set()).add(short)
        elif stored not in want:
            if stored != _ROPE_FACTORS or not family.permuted:
                faults.setdefault("tensors that the converter does not know", set()).add(short)
        elif (shape := tensors[stored].shape) != tuple(sizes[d] for d in want[stored][1]):
            faults.setdefault("tensors of another shape", set()).add(f"{short} {list(shape)}")
        elif not _readable(tensors[stored].kind):
            fault = f"{short} ({tensors[stored].kind.name})"
            faults.setdefault("tensors that the gguf package cannot dequantise", set()).add(fault)
    lines = [f"{fault}: {', '.join(sorted(those))}" for fault, those in sorted(faults.items())]
    return {stored: name for stored, (name, _) in want.items()}, lines


def _readable(kind: Any) -> bool:
    import gguf

    try:
        gguf.quants.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True
