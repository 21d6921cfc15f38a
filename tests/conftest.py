"""Eight CPU devices, strict dtypes, and caches of the tests' own."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
# Most programs are compiled to run once: half of the compiler's time goes. See `_optimizations`.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax
import numpy_step
import pytest
import tiny

from jaxbpc import cli
from jaxbpc.evaluation import loop
from jaxbpc.parallel import distributed

# float32 and bfloat16 meet only where the code says so.
jax.config.update("jax_numpy_dtype_promotion", "strict")
KEPT_BYTES = 2**30  # of compiled programs; above it, all are compiled again


def pytest_configure(config):
    """Keeps what tests compile, for other tests, the processes that they start, and the next run.

    Processes of pytest-xdist inherit the folder from the one that started them.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    if hasattr(config, "cache"):
        root = config.cache.mkdir("compiled")
        if sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) > KEPT_BYTES:
            shutil.rmtree(root)
    else:
        root = pathlib.Path(tempfile.mkdtemp(prefix="compiled-"))
        config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))
    distributed.cache_compiled(root)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"):
        os.environ[name.upper()] = str(getattr(jax.config, name))


@pytest.fixture(autouse=True)
def _optimizations(request, monkeypatch):
    """All of the compiler's for a test marked `optimized`, few for the others."""
    if request.node.get_closest_marker("optimized") is None:
        yield
        return
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def pytest_collection_modifyitems(items):
    """Real models begin first: they take longest, and short tests fill what is left at the end."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXBPC_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def good_model(tmp_path_factory):
    """A good model: a test copies what it breaks."""
    return tiny.make_model(tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def without_a_model():
    """Runs score by a hash, see `numpy_step`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_job", numpy_step.load_job)
        yield


@pytest.fixture
def refused(capsys):
    """Asserts that a call ends as the commands do for what the user can fix."""

    def check(call, *words):
        with pytest.raises(SystemExit) as end, cli.ended():
            call()
        assert end.value.code == 2
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, said.err
        assert "Traceback" not in said.err
        assert not said.out
        assert lines[0].isprintable()
        assert len(lines[0]) < 4100
        for word in words:
            assert word in lines[0]
        return lines[0]

    return check


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of an emulator on this machine."""
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    program = "from gcp_storage_emulator.server import create_server; import time\n"
    program += f"create_server('localhost', {port}, True, 'bucket').start(); time.sleep(600)"
    server = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://localhost:{port}")
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                break
        time.sleep(0.1)
    yield "gs://bucket"
    server.kill()
    server.wait()
