"""launch/tpu_vm.sh, whole, where a stand-in for gcloud makes a slice of one host and a bucket."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
import tiny

from jaxbpc.run import results

ROOT = pathlib.Path(__file__).parents[1]
GCLOUD = r"""#!/usr/bin/env bash
set -eu
echo "$*" >>"$CLOUD/calls"
case "$*" in
  *queued-resources\ describe*) cat "$CLOUD/state" ;;
  *queued-resources\ create*)
    mkdir -p "$CLOUD/host/jaxbpc"
    ln -s "$VENV" "$CLOUD/host/jaxbpc/.venv"
    echo ACTIVE >"$CLOUD/state"
    ;;
  *queued-resources\ delete*) rm -r "$CLOUD/state" "$CLOUD/host" ;;
  *tpu-vm\ scp*) cp "$5" "$CLOUD/host" ;;
  *tpu-vm\ ssh*) cd "$CLOUD/host" && command=${*: -1} && bash -c "${command#--command=}" ;;
  storage\ rsync*)
    from=${4/gs:\//$CLOUD} to=${5/gs:\//$CLOUD}
    mkdir -p "$to"
    cp -a "$from/." "$to"
    ;;
  storage\ ls*) test -d "${3/gs:\//$CLOUD}" ;;
  *) exit 9 ;;
esac
"""


@pytest.fixture
def cloud(tmp_path):
    """The folder of a cloud that has the small job's model and corpora in its bucket."""
    path = tmp_path / "cloud"
    tiny.make_place(path / "mine" / "inputs")
    (path / "bin").mkdir()
    for name, text in (("gcloud", GCLOUD), ("hostname", "#!/bin/sh\necho t1v-n-0-w-0\n")):
        (path / "bin" / name).write_text(text)
        (path / "bin" / name).chmod(0o755)
    return path


@pytest.fixture
def script(cloud, tmp_path):
    """A function that starts the script, from a copy of the project, with a verb."""
    for name in ("jaxbpc", "configs", "launch"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "project")
    (port,) = tiny.free_ports(1)
    job = [f"--coordinator_address=localhost:{port}", "--num_processes=1", "--process_id=0"]
    job += [*tiny.arguments(pathlib.Path("inputs"), "", "long")[:-1], "--workdir=runs/mine"]
    slice_ = {"ZONE": "z", "TYPE": "v6e-4", "BUCKET": "gs://mine", "JAX_PLATFORMS": "cpu"}
    here = {"CLOUD": str(cloud), "PATH": f"{cloud}/bin:{os.environ['PATH']}", "VENV": sys.prefix}

    def start(verb):
        command = ["bash", str(tmp_path / "project" / "launch" / "tpu_vm.sh"), verb]
        return subprocess.Popen(
            command + (job if verb == "run" else []),
            env=os.environ | slice_ | here,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def end(process):
    _, err = process.communicate(timeout=240)
    return process.returncode, err


def calls(cloud):
    """What the script asked of the cloud, in order, each once where it waited."""
    words = {"describe", "create", "delete", "scp", "ssh"}
    lines = (cloud / "calls").read_text().splitlines()
    found = [word for line in lines for word in line.split()[:4] if word in words]
    (cloud / "calls").unlink()
    return [word for i, word in enumerate(found) if found[i - 1 : i] != [word]]


def job_process(folder):
    """The process of jaxbpc.main that works in `folder`."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"-m\0jaxbpc.main" in command and (process / "cwd").readlink() == folder:
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("it does not run")


@pytest.mark.long
def test_a_slice_is_made_preempted_made_again_reused_and_deleted(script, cloud, tmp_path):
    process = script("run")
    tiny.wait_for(cloud / "host" / "jaxbpc" / "runs" / "mine" / "long" / "nll" / "c" / "0", process)
    os.kill(job_process(cloud / "host" / "jaxbpc"), signal.SIGKILL)
    assert end(process)[0] == 128 + signal.SIGKILL
    assert calls(cloud) == ["describe", "create", "describe", "scp", "ssh"]

    (cloud / "state").write_text("SUSPENDED\n")
    code, err = end(script("run"))
    assert code == 0, err
    assert calls(cloud) == ["describe", "delete", "create", "describe", "scp", "ssh"]
    fetched = results.read(tmp_path / "project" / "runs" / "mine" / "results.json")
    assert [attempt["windows_scored"] > 0 for attempt in fetched.runs] == [True, True]
    tiny.check_bpc(fetched, "long")

    code, err = end(script("run"))  # nothing is left to score
    assert code == 0, err
    assert calls(cloud) == ["describe", "scp", "ssh"]
    assert len(results.read(tmp_path / "project" / "runs" / "mine" / "results.json").runs) == 3
    assert end(script("delete"))[0] == 0
    assert calls(cloud) == ["delete"]


def test_a_slice_that_is_not_given(script, cloud):
    (cloud / "state").write_text("SUSPENDING\n")
    code, err = end(script("run"))
    assert code == 75
    assert err == "stopped: the slice is SUSPENDING; start the same command again to go on\n"
