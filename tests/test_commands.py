"""The commands themselves: help, faults of flags, a kill in the middle, many processes."""

import functools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny

from jaxbpc import results
from jaxbpc.errors import InputError
from jaxbpc.record import Record


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", ["main", "convert", "plan", "prepare"])
def test_help(module):
    done = command(f"jaxbpc.{module}", "--help")
    assert done.returncode == 0
    assert f"python -m jaxbpc.{module}" in done.stdout


@pytest.mark.parametrize("module", ["main", "convert", "plan", "prepare"])
def test_help_waits_for_no_large_library(module):
    code = f"import sys, jaxbpc.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jax", "transformers", "datasets", "torch"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jaxbpc.main"], "--config is missing"),
        (["jaxbpc.main", "--config=absent.py"], "absent.py"),
        (["jaxbpc.main", "--config=configs/llama.py:9b"], "none of its sizes"),
        (["jaxbpc.main", "--nonsense"], "nonsense"),
        (["jaxbpc.main", "--config=configs/llama.py", "word"], "'word' is no flag"),
        (["jaxbpc.convert", "gguf", "absent.gguf", "out"], "absent.gguf does not exist"),
        (["jaxbpc.convert"], "gguf FILE OUT"),
        (["jaxbpc.prepare", "nonsense"], "give one of: paper"),
    ],
)
def test_bad_flags(arguments, message):
    done = command(*arguments)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr


@pytest.fixture
def start(tmp_path):
    """Starts the main job, see `tiny.start`."""
    tiny.make_place(tmp_path)
    call = functools.partial(tiny.start, tmp_path)
    call.path = tmp_path
    return call


def n_scored(folder):
    """How many tokens a record has; 0 where there is none yet."""
    try:
        return int(np.isfinite(Record.open(folder / "long").read("nll")).sum())
    except InputError:
        return 0


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_killed_and_started_again(start, number):
    finish(start("whole", corpus="long"))
    process = start("killed", corpus="long")
    while n_scored(start.path / "killed") < 2000 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 75), err
    if number != signal.SIGKILL:
        assert "start the same command again" in err
    before = n_scored(start.path / "killed")
    finish(start("killed", corpus="long"))
    whole, killed = (results.read(start.path / n / "results.json") for n in ("whole", "killed"))
    assert killed.corpora == whole.corpora
    assert killed.fingerprint == whole.fingerprint
    n_windows = sum(life["windows_scored"] for life in whole.runs)
    lives = [life["windows_scored"] for life in killed.runs]
    assert len(lives) == 2
    assert sum(lives) == n_windows
    assert lives[0] >= (before - 100) // 40 > 0
    nll = [Record.open(start.path / n / "long").read("nll") for n in ("whole", "killed")]
    np.testing.assert_array_equal(*nll)


@pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        pytest.param((8, 1, 1), 1, marks=pytest.mark.long),
        pytest.param((1, 8, 1), 2, marks=pytest.mark.long),
        ((2, 2, 2), 3),
    ],
    ids=str,
)
def test_one_device_is_eight(start, sizes, batch):
    finish(start("one"))
    axes = zip(("data", "fsdp", "tensor"), sizes, strict=True)
    flags = [f"--config.mesh.{axis}={size}" for axis, size in axes]
    finish(start("eight", *flags, f"--config.batch_per_device={batch}", devices=8))
    one, eight = (results.read(start.path / n / "results.json") for n in ("one", "eight"))
    assert one.runs[0]["devices"] == 1
    assert eight.runs[0]["mesh"] == dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
    assert eight.corpora["text"].bpc == pytest.approx(one.corpora["text"].bpc, rel=1e-6)
    assert eight.corpora["text"].bpc_full == pytest.approx(one.corpora["text"].bpc_full, rel=1e-6)


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param(("data", 4), marks=pytest.mark.long),
        ("fsdp", 4),
        pytest.param(("tensor", 4), marks=pytest.mark.long),
    ],
    ids=lambda m: m[0],
)
def test_two_processes(start, mesh):
    finish(start("one"))
    both = tiny.start_two(start.path, "two", f"--config.mesh.{mesh[0]}={mesh[1]}", devices=2)
    outputs = [finish(process) for process in both]
    assert "average" in outputs[0]
    assert "average" not in outputs[1]
    one, two = (results.read(start.path / n / "results.json") for n in ("one", "two"))
    assert two.environment["processes"] == 2
    assert two.model["weights_fingerprint"] == one.model["weights_fingerprint"]
    assert two.corpora["text"].bpc == pytest.approx(one.corpora["text"].bpc, rel=1e-6)
    assert two.corpora["text"].bpc_full == pytest.approx(one.corpora["text"].bpc_full, rel=1e-6)


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("--config.data.template=x{content}", "do not agree on template"),
        ("--config.data.dir=other", "do not agree on corpus 'text'"),
        pytest.param(
            "--config.batch_per_device=3", "agree on batch_per_device", marks=pytest.mark.long
        ),
        pytest.param(
            "--config.model.path=absent/", "absent/ does not exist", marks=pytest.mark.long
        ),
    ],
)
def test_two_processes_that_differ(start, flag, word):
    if "other" in flag:
        flag = flag.replace("other", str(start.path / "other"))
        tiny.write_corpus(start.path / "other" / "text.jsonl", [*tiny.TEXTS * 4, "b"])
    both = tiny.start_two(start.path, "two", each=((), (flag,)))
    for k, process in enumerate(both):
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2, err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, err
        assert (word in errors[0]) or (k == 0 and "process 1 failed in reading" in errors[0])
