"""Eight CPU devices, strict dtypes, and a cache of the tests' own."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import pytest

# float32 and bfloat16 meet only where the code says so.
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXBPC_CACHE", str(tmp_path_factory.mktemp("cache")))
