"""The output head: hidden states → logits, as data that the step computes chunk by chunk."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxbpc.models.dense import dot


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Head:
    """logits = cap(scale · (h Wᵀ + b)), in float32.

    weight_VD: in the dtype that hidden states are rounded to for the product. softcap: logits
    become softcap · tanh(logits / softcap). normalized: each row of W is divided by its length.
    """

    weight_VD: jax.Array
    bias_V: jax.Array | None = None
    scale: float = dataclasses.field(default=1.0, metadata={"static": True})
    softcap: float | None = dataclasses.field(default=None, metadata={"static": True})
    normalized: bool = dataclasses.field(default=False, metadata={"static": True})

    def logits(self, h_BRD: jax.Array) -> jax.Array:
        """[B, R, V] float32 for hidden states in the weight's dtype."""
        logits_BRV = dot("brd,vd->brv", h_BRD, self.weight_VD)
        if self.normalized:
            w = self.weight_VD.astype(jnp.float32)
            length_V = jnp.sqrt(jnp.sum(w * w, axis=-1))
            logits_BRV = logits_BRV / jnp.maximum(length_V, 1e-12)
        if self.bias_V is not None:
            logits_BRV = logits_BRV + self.bias_V.astype(jnp.float32)
        if self.scale != 1.0:
            logits_BRV = logits_BRV * self.scale
        if self.softcap is not None:
            logits_BRV = self.softcap * jnp.tanh(logits_BRV / self.softcap)
        return logits_BRV
