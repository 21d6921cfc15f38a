"""The SLURM script on a real SLURM of two nodes, started here; skipped where there is none."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest
import tiny

from jaxbpc import results

SCRIPT = pathlib.Path(__file__).parents[1] / "launch" / "slurm.sbatch"
CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
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
NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def resolves(name):
    try:
        socket.gethostbyname(name)
    except OSError:
        return False
    return True


def answers(command):
    return subprocess.run(command, shell=True, capture_output=True).returncode == 0


needs_slurm = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("slurmctld", "slurmd", "munge"))
    or os.geteuid() != 0
    or not resolves("node0")
    or not answers("munge -n | unmunge"),
    reason="needs slurm-wlm, root, a munged that runs, and node0 and node1 in /etc/hosts",
)


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("localhost", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture
def cluster(tmp_path):
    """Environment variables of a cluster of two nodes with one core each."""
    place = tmp_path / "slurm"
    (place / "state").mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    conf = place / "slurm.conf"
    conf.write_text(CONF.format(host=host, place=place, ports=free_ports(3)))
    env = os.environ | {"SLURM_CONF": str(conf)}
    daemons = []
    for command in (["slurmctld", "-D"], *(["slurmd", "-D", "-N", f"node{i}"] for i in (0, 1))):
        with open(place / f"{'-'.join(command)}.log", "w") as log:
            daemons.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    deadline = time.monotonic() + 60
    idle = ""
    while idle.split() != ["2"] and time.monotonic() < deadline:
        time.sleep(0.5)
        listed = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
        idle = subprocess.run(listed, env=env, capture_output=True, text=True).stdout
    yield env
    for daemon in daemons:
        daemon.terminate()
    for daemon in daemons:
        daemon.wait(30)


@pytest.mark.long
@needs_slurm
def test_two_tasks(cluster, tmp_path):
    tiny.make_model(tmp_path / "model")
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS * 4)
    arguments = [
        "--config=configs/llama.py",
        f"--config.model.path={tmp_path / 'model'}",
        f"--config.data.dir={tmp_path / 'data'}",
        "--config.data.corpora=text",
        "--config.model.dtype=float32",
        "--config.window.block_size=64",
        "--config.window.stride=16",
    ]
    env = cluster | {
        "PYTHON": sys.executable,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    alone = [sys.executable, "-m", "jaxbpc.main", *arguments, f"--workdir={tmp_path / 'one'}"]
    subprocess.run(alone, env=env, check=True, capture_output=True)
    out = tmp_path / "out.txt"
    submit = ["sbatch", "--wait", "--nodes=2", "--ntasks-per-node=1", f"--output={out}", SCRIPT]
    done = subprocess.run(
        [*submit, *arguments, f"--workdir={tmp_path / 'two'}"],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + (out.read_text() if out.exists() else "")
    one, two = (results.read(tmp_path / name / "results.json") for name in ("one", "two"))
    assert two.environment["processes"] == 2
    assert two.corpora["text"].bpc == pytest.approx(one.corpora["text"].bpc, rel=1e-6)
    assert "average" in out.read_text()
