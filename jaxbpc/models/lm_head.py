"""The output head: hidden states → logits, as data that the step computes chunk by chunk."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxbpc.models.layers import dot


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
        products_BRV = dot("brd,vd->brv", h_BRD, self.weight_VD)
        return self._of_products(products_BRV, self.weight_VD, self.bias_V)

    def logit(self, h_BRD: jax.Array, ids_BR: jax.Array) -> jax.Array:
        """[B, R] float32: of each position's logits that of one id."""
        weight_BRD = self.weight_VD[ids_BR]
        bias_BR = None if self.bias_V is None else self.bias_V[ids_BR]
        products_BR = jnp.sum(h_BRD.astype(jnp.float32) * weight_BRD.astype(jnp.float32), axis=-1)
        return self._of_products(products_BR, weight_BRD, bias_BR)

    def _of_products(
        self, logits: jax.Array, weight: jax.Array, bias: jax.Array | None
    ) -> jax.Array:
        """Logits of products of hidden states with `weight`, [..., D]: shaped as they, float32."""
        if self.normalized:
            w = weight.astype(jnp.float32)
            logits = logits / jnp.maximum(jnp.sqrt(jnp.sum(w * w, axis=-1)), 1e-12)
        if bias is not None:
            logits = logits + bias.astype(jnp.float32)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * jnp.tanh(logits / self.softcap)
        return logits
