"""Launch scripts: what they would run, and what runs here."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny

from jaxbpc import results

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


def test_mpirun_would_run():
    done = launch("mpirun.sh", "--dry-run", "-np 2 --host a:1,b:1", "--config", "a.py")
    assert re.fullmatch(
        r"mpirun -np 2 --host a:1,b:1 \S+ -m jaxbpc.main --distributed=on --config a.py\n",
        done.stdout,
    )


def test_slurm_would_run():
    done = launch("slurm.sbatch", "--dry-run", "--config", "a.py")
    assert re.fullmatch(
        r"srun --kill-on-bad-exit=1 \S+ -m jaxbpc.main --distributed=on --config a.py\n",
        done.stdout,
    )
    done = launch("slurm.sbatch", "--dry-run", "--config", "a.py", CONTAINER="image")
    assert "srun --kill-on-bad-exit=1 --container-image=image --container-mounts=" in done.stdout


@pytest.mark.parametrize("script", ["local.sh", "mpirun.sh"])
def test_arguments_that_are_missing(script):
    done = launch(script, "--config")
    assert done.returncode == 2
    assert done.stderr.startswith("error: give ")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script):
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def job(tmp_path):
    """A function (workdir, corpus) → the arguments of a small job."""
    tiny.make_model(tmp_path / "model")
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS * 4)
    tiny.write_corpus(tmp_path / "data" / "long.jsonl", tiny.TEXTS * 60)

    def arguments(workdir, corpus="text"):
        return [
            "--config=configs/llama.py",
            f"--config.model.path={tmp_path / 'model'}",
            f"--config.data.dir={tmp_path / 'data'}",
            f"--config.data.corpora={corpus}",
            "--config.model.dtype=float32",
            "--config.window.block_size=64",
            "--config.window.stride=16",
            f"--workdir={tmp_path / workdir}",
        ]

    return arguments


def one_process(job, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jaxbpc.main", *job("one")],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return results.read(tmp_path / "one" / "results.json")


def check(done, job, tmp_path):
    assert done.returncode == 0, done.stderr
    one, two = one_process(job, tmp_path), results.read(tmp_path / "two" / "results.json")
    assert two.environment["processes"] == 2
    assert two.corpora["text"].bpc == pytest.approx(one.corpora["text"].bpc, rel=1e-6)


def test_local_runs(job, tmp_path):
    check(launch("local.sh", "2", *job("two")), job, tmp_path)


def test_local_is_stopped_and_goes_on(job, tmp_path):
    command = ["bash", LAUNCH / "local.sh", "2", *job("two", "long")]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    record = tmp_path / "two" / "long" / "nll" / "c"
    deadline = time.monotonic() + 120
    while not record.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    done = launch("local.sh", "2", *job("two", "long"))
    assert done.returncode == 0, done.stderr
    result = results.read(tmp_path / "two" / "results.json")
    assert len(result.runs) == 2
    assert all(life["windows_scored"] > 0 for life in result.runs)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="Open MPI is not installed")
def test_mpirun_runs(job, tmp_path):
    check(launch("mpirun.sh", "-np 2 --oversubscribe", *job("two")), job, tmp_path)
