"""What is known of chips that are not here: memory, clock and peak of the TPUs that can be planned.

From Google Cloud's pages of each generation. The clock is the peak over the matrix units' FLOPs a
cycle: what turns the compiler's cycles into seconds.
"""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One JAX device. memory_bytes: what a program may use. flop_per_cycle: bfloat16 peak."""

    name: str
    memory_bytes: int
    peak_flop_per_s: float
    flop_per_cycle: int

    @property
    def clock_hz(self) -> float:
        """Cycles a second."""
        return self.peak_flop_per_s / self.flop_per_cycle


# By `jax.Device.device_kind`. A v4 or v5p chip is one device; so are v5e and v6e.
CHIPS = {
    "TPU v4": Chip("v4", int(30.75 * GIB), 275e12, 8 * 2 * 128 * 128),
    "TPU v5 lite": Chip("v5e", int(15.75 * GIB), 197e12, 4 * 2 * 128 * 128),
    "TPU v5": Chip("v5p", int(94.75 * GIB), 459e12, 8 * 2 * 128 * 128),
    "TPU v6 lite": Chip("v6e", int(31.25 * GIB), 918e12, 4 * 2 * 256 * 256),
}
