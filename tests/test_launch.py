"""Launch scripts: what they would run, and what runs here."""

import functools
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import tiny

from jaxbpc.run import results

LAUNCH = pathlib.Path(__file__).parents[1] / "launch"
SCRIPTS = sorted(path for path in LAUNCH.iterdir() if path.suffix in (".sh", ".sbatch"))


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name != "CONTAINER"}
    return (
        kept
        | {
            "PYTHON": sys.executable,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_PLATFORMS": "cpu",
            # Open MPI refuses root, and more processes than cores, unless told.
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        | more
    )


def launch(script, *arguments, **more):
    return subprocess.run(
        ["bash", LAUNCH / script, *arguments],
        capture_output=True,
        text=True,
        env=environment(**more),
        timeout=300,
    )


def test_local_would_run():
    done = launch("local.sh", "--dry-run", "2", "--config", "a.py", PORT="1234")
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for i, line in enumerate(lines):
        wanted = "-m jaxbpc.main --config a.py --coordinator_address=localhost:1234"
        assert f"{wanted} --num_processes=2 --process_id={i}" in line


def test_what_would_run_can_be_pasted():
    field = "--config.data.template={content} $x"
    for script, more in (("local.sh", ["1"]), ("mpirun.sh", ["-np 1"]), ("slurm.sbatch", [])):
        done = launch(script, "--dry-run", *more, "--config", "a.py", field)
        assert field in shlex.split(done.stdout), script


def test_mpirun_would_run():
    done = launch("mpirun.sh", "--dry-run", "-np 2 --host a:1,b:1", "--config", "a.py")
    assert re.fullmatch(
        r"mpirun -np 2 --host a:1,b:1 \S+ -m jaxbpc.main --distributed=on --config a.py\n",
        done.stdout,
    )


def commands(printed):
    """What a dry run printed, as bash reads it: each command's words."""
    show = "show() { printf '%s\\0' \"$@\" $'\\n'; }\n"
    lines = "".join(f"show {line}\n" for line in printed.splitlines())
    read = subprocess.run(["bash", "-c", show + lines], capture_output=True, text=True, check=True)
    return [command.rstrip("\0").split("\0") for command in read.stdout.split("\n\0")[:-1]]


def test_tpu_vm_would_run():
    slice_ = {"ZONE": "z", "TYPE": "v6e-16", "BUCKET": "gs://mine/folder"}
    more = {"SPOT": "1", "DISK": "--boot-disk=size=500GB"}
    job = ["--config", "a.py", "--config.data.template={a} {b}"]
    done = launch("tpu_vm.sh", "--dry-run", "run", *job, **slice_, **more)
    create, send, run, folder, fetch = commands(done.stdout)
    tpus = ["gcloud", "compute", "tpus"]
    slice_flags = ["--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e", "--spot"]
    wanted = [*tpus, "queued-resources", "create", "jaxbpc", "--zone=z", "--node-id=jaxbpc"]
    assert create == [*wanted, *slice_flags, "--boot-disk=size=500GB"]
    assert send[5].endswith("/jaxbpc.tgz")
    del send[5]
    assert send == [*tpus, "tpu-vm", "scp", "jaxbpc:", "--zone=z", "--worker=all"]
    on_host = run.pop().removeprefix("--command=")
    assert run == [*tpus, "tpu-vm", "ssh", "jaxbpc", "--zone=z", "--worker=all", "--ssh-flag=-tt"]
    on_host = commands(on_host.split("&&")[-1].strip())
    assert on_host == [["bash", "launch/tpu_host.sh", "gs://mine/folder", *job]]
    assert folder == ["mkdir", "-p", "runs"]
    rsync = ["gcloud", "storage", "rsync", "--recursive"]
    assert fetch == [*rsync, "gs://mine/folder/runs", "runs"]
    done = launch("tpu_vm.sh", "--dry-run", "delete", **slice_)
    delete = [*tpus, "queued-resources", "delete", "jaxbpc", "--zone=z", "--force", "--quiet"]
    assert commands(done.stdout) == [delete]


def test_each_host_of_a_tpu_would_run():
    done = launch("tpu_host.sh", "--dry-run", "gs://mine/folder", "--config", "a.py")
    assert done.stdout.splitlines()[-2:] == [
        "gcloud storage rsync --recursive gs://mine/folder/inputs inputs",
        ".venv/bin/python -m jaxbpc.main --distributed=on --config a.py",
    ]


def test_slurm_would_run():
    done = launch("slurm.sbatch", "--dry-run", "--config", "a.py")
    assert re.fullmatch(
        r"srun --kill-on-bad-exit=1 \S+ -m jaxbpc.main --distributed=on --config a.py\n",
        done.stdout,
    )
    done = launch("slurm.sbatch", "--dry-run", "--config", "a.py", CONTAINER="image")
    assert "srun --kill-on-bad-exit=1 --container-image=image --container-mounts=" in done.stdout


@pytest.mark.parametrize(
    ("script", "given"),
    [
        ("local.sh", ["--config"]),
        ("mpirun.sh", ["--config"]),
        ("mpirun.sh", ["--config", "a.py"]),
        ("slurm.sbatch", []),
        ("tpu_host.sh", []),
        ("tpu_vm.sh", ["--config"]),
    ],
)
def test_arguments_that_are_missing(script, given):
    done = launch(script, *given)
    assert done.returncode == 2
    assert done.stderr.startswith("error: give ")


def test_scripts_can_be_run():
    assert all(os.access(path, os.X_OK) for path in SCRIPTS)


def test_a_bucket_is_an_address():
    done = launch("tpu_vm.sh", "run", BUCKET="mine", ZONE="z", TYPE="v6e-16")
    assert (done.returncode, done.stderr) == (2, "error: BUCKET is mine: give gs://…\n")


@pytest.mark.parametrize(
    ("statuses", "want"),
    [("0 0", 0), ("137 75", 75), ("75 137", 75), ("0 137", 137), ("75 1", 1), ("2 75", 2)],
)
def test_the_status_that_says_most(tmp_path, statuses, want):
    """A process that was killed makes the others end with 75: the same command goes on."""
    python = tmp_path / "python"
    codes = " ".join(f"[{i}]={code}" for i, code in enumerate(statuses.split()))
    python.write_text(
        f"#!/usr/bin/env bash\ndeclare -a codes=({codes})\n"
        "code=${codes[${@: -1}]#--process_id=}\n"
        'last="${@: -1}"; code=${codes[${last#--process_id=}]}\n'
        '((code < 128)) && exit "$code"\nkill -9 $$\n'
    )
    python.chmod(0o755)
    done = launch("local.sh", "2", "--config", "a.py", PYTHON=str(python), PORT="1234")
    assert done.returncode == want


@pytest.mark.parametrize("verb", ["run", "delete"])
def test_settings_that_are_missing(verb):
    done = launch("tpu_vm.sh", verb, BUCKET="gs://mine", ZONE="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ZONE is not set: ")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script):
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def job(tmp_path):
    """A function (workdir, corpus) → the arguments of a small job."""
    tiny.make_place(tmp_path)
    return functools.partial(tiny.arguments, tmp_path)


def check(done, tmp_path):
    assert done.returncode == 0, done.stderr
    two = results.read(tmp_path / "two" / "results.json")
    assert two.environment["processes"] == 2
    tiny.check_bpc(two)


@pytest.mark.long
def test_local_runs(job, tmp_path):
    check(launch("local.sh", "2", *job("two")), tmp_path)


@pytest.mark.long
def test_local_is_stopped_and_goes_on(job, tmp_path):
    command = ["bash", LAUNCH / "local.sh", "2", *job("two", "long")]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    tiny.wait_for(tmp_path / "two" / "long" / "nll" / "c" / "0", process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    done = launch("local.sh", "2", *job("two", "long"))
    assert done.returncode == 0, done.stderr
    result = results.read(tmp_path / "two" / "results.json")
    assert len(result.runs) == 2
    assert all(attempt["windows_scored"] > 0 for attempt in result.runs)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="Open MPI is not installed")
def test_mpirun_runs(job, tmp_path):
    check(launch("mpirun.sh", "-np 2 --oversubscribe", *job("two")), tmp_path)
