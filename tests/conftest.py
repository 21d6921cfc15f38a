"""Eight CPU devices, strict dtypes, and caches of the tests' own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import pytest
import tiny

from jaxbpc import cli

# float32 and bfloat16 meet only where the code says so.
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_configure(config):
    """What one test has compiled another takes, and so do the processes that they start.

    Most score the same small models. xdist's workers have it from the process that started them.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = tempfile.mkdtemp(prefix="compiled-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        settings = {"jax_compilation_cache_dir": folder}
        settings["jax_persistent_cache_min_compile_time_secs"] = 0.1
        for name, value in settings.items():
            os.environ[name.upper()] = str(value)
            jax.config.update(name, value)


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
def refused(capsys):
    """Asserts that a call ends as the commands do for what the user can mend."""

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
