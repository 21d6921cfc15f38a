"""Two hosts: each a network, a host name and a file system of its own, as far as Linux gives them.

A bridge joins two network namespaces; a folder of the same name is another one on each host. Needs
root. What it cannot show is a network that is slow, or loses what it carries.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
import tiny

from jaxbpc.run import results

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter", "mount"))),
        reason="needs root, iproute2 and util-linux",
    ),
]
BRIDGE = "jaxbpc0"
NAMES = ("jaxbpc-a", "jaxbpc-b")
ADDRESSES = ("10.213.7.1", "10.213.7.2")
PORT = 12355


def ip(command, check=True):
    subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=check)


def remove_networks():
    for i, name in enumerate(NAMES):
        ip(f"link delete {BRIDGE}-{i}", check=False)
        ip(f"netns delete {name}", check=False)
        shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)
    ip(f"link delete {BRIDGE}", check=False)


@pytest.fixture
def networks():
    """Two network namespaces on a bridge; each knows both hosts by name."""
    remove_networks()  # what a run that was killed left behind
    if subprocess.run(["unshare", "--net", "--uts", "--mount", "true"]).returncode:
        pytest.skip("this root may not make namespaces")
    try:
        ip(f"link add {BRIDGE} type bridge")
        ip(f"link set {BRIDGE} up")
        for i, (name, address) in enumerate(zip(NAMES, ADDRESSES, strict=True)):
            ip(f"netns add {name}")
            ip(f"link add {BRIDGE}-{i} type veth peer name eth0 netns {name}")
            ip(f"link set {BRIDGE}-{i} master {BRIDGE} up")
            ip(f"-n {name} address add {address}/24 dev eth0")
            ip(f"-n {name} link set eth0 up")
            ip(f"-n {name} link set lo up")
            hosts = pathlib.Path(f"/etc/netns/{name}/hosts")
            hosts.parent.mkdir(parents=True)
            lines = [f"{a} {n}\n" for a, n in zip(ADDRESSES, NAMES, strict=True)]
            hosts.write_text("127.0.0.1 localhost\n" + "".join(lines))
        yield
    finally:
        remove_networks()


@pytest.fixture
def start(networks, tmp_path):
    """A function that starts the job on host i; it sees its own disk as tmp_path/disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in NAMES:
        tiny.make_place(tmp_path / name)

    def call(i, workdir, corpus, *flags):
        command = [sys.executable, "-m", "jaxbpc.main"]
        command += [*tiny.arguments(disk, workdir, corpus), *flags]
        command += [f"--coordinator_address={NAMES[0]}:{PORT}", "--num_processes=2"]
        # Its own disk and names, then its host name, then the job in place of the shell.
        prepare = (
            f'mount --bind "{tmp_path / NAMES[i]}" "{disk}" && '
            f"mount --bind /etc/netns/{NAMES[i]}/hosts /etc/hosts && "
            f'hostname {NAMES[i]} && exec "$@"'
        )
        place = ["nsenter", f"--net=/run/netns/{NAMES[i]}", "unshare", "--uts", "--mount"]
        more = {"JAX_PLATFORMS": "cpu", "JAXBPC_CACHE": str(disk / "cache")}
        return subprocess.Popen(
            [*place, "sh", "-c", prepare, "sh", *command, f"--process_id={i}"],
            env=os.environ | more | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with contextlib.ExitStack() as stack:

        def both(workdir, corpus, *flags):
            processes = [call(i, workdir, corpus, *flags) for i in range(2)]
            for process in processes:
                stack.callback(process.kill)
            return processes

        yield both


def finish(processes):
    ended = [process.communicate(timeout=240) for process in processes]
    for process, (_, err) in zip(processes, ended, strict=True):
        assert process.returncode == 0, err


def test_same_digits_without_a_shared_disk(start, tmp_path):
    finish(start("two", "text"))
    first, second = (tmp_path / name for name in NAMES)
    found = results.read(first / "two" / "results.json")
    assert found.environment["processes"] == 2
    tiny.check_bpc(found)
    assert not (second / "two").exists()
    assert all((tmp_path / name / "cache").is_dir() for name in NAMES)
    assert not list((tmp_path / "disk").iterdir())


@pytest.mark.parametrize("killed", [0, 1])
def test_one_host_is_lost(start, tmp_path, killed):
    processes = start("two", "long")
    tiny.wait_for(tmp_path / NAMES[0] / "two" / "long" / "nll" / "c" / "0", processes[0])
    processes[killed].kill()
    began = time.monotonic()
    _, err = processes[1 - killed].communicate(timeout=120)
    assert processes[1 - killed].returncode == 75, err
    assert time.monotonic() - began < 60
    stopped = [line for line in err.splitlines() if line.startswith("stopped: ")]
    assert len(stopped) == 1
    assert "was lost" in stopped[0]
    assert "Traceback" not in err
    finish(start("two", "long", "--config.batch_per_device=16"))  # faster; a next attempt may
    first = tmp_path / NAMES[0]
    found = results.read(first / "two" / "results.json")
    assert [attempt["windows_scored"] > 0 for attempt in found.runs] == [True, True]
    tiny.check_bpc(found, "long")
