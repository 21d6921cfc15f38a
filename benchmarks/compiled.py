"""The step as the TPU compiler makes it, without a TPU: its cycles, memory and collectives.

  pip install 'libtpu==0.0.42.*'
  python benchmarks/compiled.py [CASE …]

Compiles the real step ahead of time for a topology and reads the compiler's own estimates. A FLOP a
cycle counts the useful FLOPs of matrix products over the estimated cycles. The compiler tells no
cycles of kernels. Attention's FLOPs are left out. The grouped products of experts are kernels too:
they are taken at the rate of a large product ("analytic"); without experts that term is nothing.
An 8192³ product reaches 115k on a v5e, 369k on a v6e. Prints a table, then a line of JSON.
"""

import dataclasses
import json
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from jaxbpc.checkpoint import load
from jaxbpc.evaluation import step as step_lib
from jaxbpc.models import costs, kernels
from jaxbpc.models.decoder import Decoder
from jaxbpc.models.families import FAMILIES
from jaxbpc.parallel import sharding
from jaxbpc.plan import hlo_cost

LENGTH, ROWS = 1900, 512
LLAMA = {"model_type": "llama", "max_position_embeddings": 8192}
LLAMA2_70B = LLAMA | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}
LLAMA3_8B = LLAMA | {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
GEMMA2_27B = {
    "model_type": "gemma2",
    "hidden_size": 4608,
    "intermediate_size": 36864,
    "num_hidden_layers": 46,
    "num_attention_heads": 32,
    "num_key_value_heads": 16,
    "head_dim": 128,
    "query_pre_attn_scalar": 144,
    "vocab_size": 256000,
}
MIXTRAL_8X7B = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model on a topology, and the layout to compile."""

    config: dict
    topology: str
    mesh: tuple[int, int, int]
    batch_per_device: int
    calibration: int  # FLOP a cycle of a large product on this chip


CASES = {
    "llama-2-70b": Case(LLAMA2_70B, "v5e:4x4", (1, 16, 1), 2, 115_000),
    "llama-3-8b": Case(LLAMA3_8B, "v5e:2x2", (1, 4, 1), 4, 115_000),
    "gemma-2-27b": Case(GEMMA2_27B, "v6e:2x4", (1, 8, 1), 4, 369_000),
    "mixtral-8x7b": Case(MIXTRAL_8X7B, "v6e:2x4", (1, 8, 1), 4, 369_000),
}


def compiled(case: Case):
    """(the Arch, the executable) of a case's step."""
    from jax.experimental import topologies

    topology = topologies.get_topology_desc(topology_name=case.topology, platform="tpu")
    mesh = sharding.make_mesh(case.mesh, topology.devices)
    arch = FAMILIES[case.config["model_type"]].to_arch(case.config, "config.json")
    model = load.placed(Decoder(arch, jax.numpy.bfloat16, "splash", stacked=True), mesh)
    step = step_lib.Step(Decoder.hidden, Decoder.output, mesh)
    batch = case.batch_per_device * sharding.n_batch_shards(mesh)
    return arch, step.compile(model, (batch, LENGTH), ROWS)


def measure(case: Case) -> dict:
    """What the compiler says of one case."""
    arch, executable = compiled(case)
    cost = hlo_cost.cost(executable.as_text())
    useful = costs.flops(arch, LENGTH, ROWS)
    n_devices = int(np.prod(case.mesh))
    windows = case.batch_per_device * case.mesh[0] * case.mesh[1]
    products = (useful.matmul + useful.head) * windows / n_devices
    # Cycles that the compiler does not tell: an assumption, not an estimate of its.
    analytic = useful.experts * windows / n_devices / case.calibration
    rate = products / (cost.cycles + analytic)
    moved = sum(c.n_bytes * c.count for c in cost.collectives)
    return {
        "topology": case.topology,
        "mesh": case.mesh,
        "batch_per_device": case.batch_per_device,
        "flop_per_cycle": rate,
        "cycles": cost.cycles + analytic,
        "analytic_kernel_cycles": analytic,
        "share_of_large_product": rate / case.calibration,
        "attention_kernel_share_of_flops": useful.attention / useful.total,
        "peak_gib": executable.memory_analysis().peak_memory_in_bytes / 2**30,
        "collective_gib": moved / 2**30,
        "window_padded_to": kernels.padded(LENGTH, "splash"),
    }


def main(names: list[str]) -> None:
    rows = {}
    print(f"{'case':<14}{'topology':<10}{'FLOP/cycle':>12}{'share':>8}{'peak GiB':>10}", end="")
    print(f"{'collectives GiB':>17}{'attention FLOPs':>17}{'analytic cycles':>17}")
    for name in names or CASES:
        row = rows[name] = measure(CASES[name])
        print(
            f"{name:<14}{row['topology']:<10}{row['flop_per_cycle']:>12,.0f}"
            f"{row['share_of_large_product']:>8.1%}{row['peak_gib']:>10.2f}"
            f"{row['collective_gib']:>17.2f}{row['attention_kernel_share_of_flops']:>17.1%}"
            f"{row['analytic_kernel_cycles'] / row['cycles']:>17.1%}",
            flush=True,
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
