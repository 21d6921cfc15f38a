"""Meshes over several TPU slices, of the TPU compiler's own topologies."""

import importlib.util

import pytest
from jax.experimental import topologies

from jaxbpc.parallel import sharding

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


def described(topology, n_slices):
    more = {"num_slices": n_slices} if n_slices > 1 else {}
    return topologies.get_topology_desc(topology_name=topology, platform="tpu", **more).devices


def slices(devices):
    return {device.slice_index for device in devices.flat}


@pytest.mark.parametrize("sizes", [(0, 0, 0), (2, 16, 1), (4, 4, 2), (2, 4, 4)])
def test_data_crosses_slices_and_nothing_else(sizes):
    placed = sharding.make_mesh(sizes, described("v5e:4x4", 2)).devices
    assert len({device.id for device in placed.flat}) == 32
    half = placed.shape[0] // 2
    assert [slices(part) for part in (placed[:half], placed[half:])] == [{0}, {1}]


def test_a_model_larger_than_a_slice():
    placed = sharding.make_mesh((1, 16, 2), described("v5e:4x4", 2)).devices
    assert [slices(part) for part in (placed[:, :8], placed[:, 8:])] == [{0}, {1}]


def test_data_first_then_fsdp():
    placed = sharding.make_mesh((2, 4, 8), described("v5e:4x4", 4)).devices
    parts = [slices(placed[i, 2 * j : 2 * j + 2]) for i in range(2) for j in range(2)]
    assert parts == [{0}, {1}, {2}, {3}]


def test_an_axis_may_be_a_part_of_a_torus():
    placed = sharding.make_mesh((4, 64, 1), described("v6e:16x16", 1)).devices
    assert len({device.id for device in placed.flat}) == 256
