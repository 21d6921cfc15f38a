"""What is known of chips that are not here: memory and speed of those that a plan can be made for.

TPUs: Google Cloud's pages of each generation, and the memory that their compiler grants. The clock
is the peak over the matrix units' FLOPs a cycle: what turns the compiler's cycles into seconds.
GPUs: NVIDIA's data sheets (dense bfloat16, SXM) and the sizes that CUDA reports. A link's
rate is one direction's, of all of a device's links inside a host; between hosts the usual network
card of such machines is taken.
"""

import dataclasses

GIB = 2**30
# Of a GPU's memory, what JAX's allocator takes (`jaxbpc.main` sets it): the rest is for NCCL, cuDNN
# and the driver.
GPU_MEMORY_SHARE = 0.9


@dataclasses.dataclass(frozen=True)
class Chip:
    """One JAX device.

    memory_bytes: what a program may use. peak_flop_per_s: bfloat16. flop_per_cycle: the same a
    cycle (TPU). link_bytes_per_s, memory_bytes_per_s, network_bytes_per_s: rates, a device; the
    last two of GPUs.
    cuda: what the compiler asks of a CUDA device, for `target_config`.
    """

    name: str
    memory_bytes: int
    peak_flop_per_s: float
    flop_per_cycle: int = 0
    link_bytes_per_s: float = 0.0
    memory_bytes_per_s: float = 0.0
    network_bytes_per_s: float = 0.0
    cuda: "Cuda | None" = None

    @property
    def clock_hz(self) -> float:
        """Cycles a second (TPU)."""
        return self.peak_flop_per_s / self.flop_per_cycle


@dataclasses.dataclass(frozen=True)
class Cuda:
    """A CUDA device's own numbers. capability: of compute. Sizes in bytes, a core is an SM."""

    capability: tuple[int, int]
    memory: int
    cores: int
    lanes: int
    clock_ghz: float
    l2: int
    shared_a_core: int


def _gpu(name: str, peak: float, rate: float, link: float, network: float, cuda: Cuda) -> Chip:
    memory = int(GPU_MEMORY_SHARE * cuda.memory)
    return Chip(name, memory, peak, 0, link, rate, network, cuda)


# By `jax.Device.device_kind`. A v4 or v5p chip is one device, so are v5e and v6e; a tpu7x is two.
CHIPS = {
    "TPU v4": Chip("v4", int(30.75 * GIB), 275e12, 8 * 2 * 128 * 128, 300e9),
    "TPU v5 lite": Chip("v5e", int(15.75 * GIB), 197e12, 4 * 2 * 128 * 128, 200e9),
    "TPU v5": Chip("v5p", int(95.74 * GIB), 459e12, 8 * 2 * 128 * 128, 600e9),
    "TPU v6 lite": Chip("v6e", int(31.25 * GIB), 918e12, 4 * 2 * 256 * 256, 400e9),
    "TPU7x": Chip("tpu7x", int(94.75 * GIB), 1153.5e12, 4 * 2 * 256 * 256, 300e9),
    "NVIDIA A100-SXM4-80GB": _gpu(
        "a100",
        312e12,
        2.04e12,
        300e9,
        25e9,
        Cuda((8, 0), 85_100_068_864, 108, 64, 1.41, 40 << 20, 167_936),
    ),
    "NVIDIA H100 80GB HBM3": _gpu(
        "h100",
        989e12,
        3.35e12,
        450e9,
        50e9,
        Cuda((9, 0), 84_942_979_072, 132, 128, 1.98, 50 << 20, 233_472),
    ),
    "NVIDIA H200": _gpu(
        "h200",
        989e12,
        4.8e12,
        450e9,
        50e9,
        Cuda((9, 0), 151_397_597_184, 132, 128, 1.98, 50 << 20, 233_472),
    ),
    "NVIDIA B200": _gpu(
        "b200",
        2250e12,
        7.67e12,
        900e9,
        50e9,
        Cuda((10, 0), 191_514_411_008, 148, 128, 1.965, 132_644_864, 233_472),
    ),
}
GPUS = {chip.name: kind for kind, chip in CHIPS.items() if chip.cuda}


def target_config(kind: str) -> str:
    """XLA's description of a GPU for compiling without one (a text of its GpuTargetConfigProto)."""
    cuda = CHIPS[kind].cuda
    assert cuda is not None
    major, minor = cuda.capability
    return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  device_memory_size: {cuda.memory}
  memory_bandwidth: {int(CHIPS[kind].memory_bytes_per_s)}
  core_count: {cuda.cores}
  fpus_per_core: {cuda.lanes}
  clock_rate_ghz: {cuda.clock_ghz}
  l2_cache_size: {cuda.l2}
  shared_memory_per_core: {cuda.shared_a_core}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {cuda.shared_a_core - 1024}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "{kind}"
"""
