"""The SLURM script on a real SLURM of two nodes, started here; skipped where there is none.

Its daemons and munged's are this test's own. It adds the nodes' names to /etc/hosts, and removes
them: JAX takes the first node's name as the coordinator's.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest
import tiny

from jaxbpc.run import results

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))),
        reason="needs root, and slurm-wlm and munge",
    ),
]
SCRIPT = pathlib.Path(__file__).parents[1] / "launch" / "slurm.sbatch"
HOSTS = pathlib.Path("/etc/hosts")
NODES = ("jaxbpc-node0", "jaxbpc-node1")
CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldPort={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
SwitchType=switch/none
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def names_of_nodes():
    """The nodes' names in /etc/hosts, changed in place: containers mount that file."""
    line = f"127.0.0.1 {' '.join(NODES)}\n"
    before = HOSTS.read_text().replace(line, "")
    HOSTS.write_text(before + line)
    try:
        yield
    finally:
        HOSTS.write_text(before)


@contextlib.contextmanager
def daemons(place, env):
    """munged, slurmctld and a slurmd a node, with a log of each in `place`."""
    key, munge_socket = place / "munge.key", place / "munge.socket"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge_socket}"]
    munged += [f"--{name}-file={place / name}" for name in ("pid", "log", "seed")]
    started = []
    try:
        for command in (munged, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", n] for n in NODES)):
            with open(place / f"{command[0]}-{len(started)}.log", "w") as log:
                started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
            tiny.wait_for(munge_socket, started[0], 10)
        yield
    finally:
        for daemon in reversed(started):
            daemon.terminate()
        for daemon in started:
            daemon.wait(30)


@pytest.fixture
def slurm():
    """A function that runs a command of SLURM on a cluster of two nodes with one core each."""
    # slurmd's sockets lie in it, whose paths are no longer than 108 bytes.
    place = pathlib.Path(tempfile.mkdtemp(prefix="slurm"))
    (place / "state").mkdir()
    host = socket.gethostname().split(".")[0]
    conf = place / "slurm.conf"
    conf.write_text(CONF.format(host=host, place=place, ports=tiny.free_ports(3), nodes=NODES))
    more = {
        "SLURM_CONF": str(conf),
        "PYTHON": sys.executable,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }

    def call(*command):
        return subprocess.run(
            command, env=os.environ | more, capture_output=True, text=True, timeout=300
        )

    with names_of_nodes(), daemons(place, os.environ | more):
        listed = ("sinfo", "--noheader", "--states=idle", "--format=%D")
        until(lambda: call(*listed).stdout.split() == ["2"], 60)
        yield call
    shutil.rmtree(place)


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def submit(slurm, tmp_path, corpus, *options):
    """Submits the job with two tasks; its output goes to tmp_path/out.txt."""
    tiny.make_place(tmp_path)
    options = ["--nodes=2", "--ntasks-per-node=1", f"--output={tmp_path / 'out.txt'}", *options]
    return slurm("sbatch", "--parsable", *options, SCRIPT, *tiny.arguments(tmp_path, "two", corpus))


def check(tmp_path, corpus):
    found = results.read(tmp_path / "two" / "results.json")
    assert found.environment["processes"] == 2
    tiny.check_bpc(found, corpus)
    return found


def test_two_tasks(slurm, tmp_path):
    done = submit(slurm, tmp_path, "text", "--wait")
    out = tmp_path / "out.txt"
    assert done.returncode == 0, done.stderr + (out.read_text() if out.exists() else "")
    assert "average" in out.read_text()
    check(tmp_path, "text")


def test_preempted_and_requeued(slurm, tmp_path):
    job = submit(slurm, tmp_path, "long").stdout.strip()

    def state():
        return slurm("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}").stdout

    until((tmp_path / "two" / "long" / "nll" / "c" / "0").exists, 240)
    done = slurm("scontrol", "requeue", job)
    assert done.returncode == 0, done.stderr
    until(lambda: state().strip() == "PENDING", 60)
    assert "stopped: " in (tmp_path / "out.txt").read_text()
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
    until(lambda: state().strip() not in ("PENDING", "RUNNING", "COMPLETING"), 240)
    assert state().strip() == "COMPLETED", (tmp_path / "out.txt").read_text()
    assert [attempt["windows_scored"] > 0 for attempt in check(tmp_path, "long").runs] == [
        True,
        True,
    ]
