"""The commands themselves: help, faults of flags, a kill in the middle, many processes."""

import functools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import numpy_step
import pytest
import tiny
import warm

from jaxbpc.errors import InputError
from jaxbpc.run import results
from jaxbpc.run.record import Record


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
        (["jaxbpc.main", "--config=configs/llama.py:9b"], "unknown size '9b'"),
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A place where the job on the long corpus ended undisturbed, by a hash in a model's place."""
    place = tmp_path_factory.mktemp("place")
    tiny.make_place(place)
    finish(tiny.start(place, "whole", corpus="long", module="numpy_step"))
    return place


@pytest.mark.smoke
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_started_again(whole, number):
    start = functools.partial(tiny.start, whole, f"by-{number}", corpus="long", module="numpy_step")
    run = whole / f"by-{number}"
    process = start(**{numpy_step.SECONDS: "0.002"})
    while n_scored(run) < 2000 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 75), err
    if number != signal.SIGKILL:
        assert "start the same command again" in err
    before = n_scored(run)
    finish(start())
    want, got = (results.read(folder / "results.json") for folder in (whole / "whole", run))
    assert got.corpora == want.corpora
    assert got.fingerprint == want.fingerprint
    n_windows = sum(attempt["windows_scored"] for attempt in want.runs)
    attempts = [attempt["windows_scored"] for attempt in got.runs]
    assert len(attempts) == 2
    assert sum(attempts) == n_windows
    assert attempts[0] >= (before - 100) // 40 > 0
    nll = [Record.open(folder / "long").read("nll") for folder in (whole / "whole", run)]
    np.testing.assert_array_equal(*nll)


@pytest.mark.parametrize("corpus", ["text", pytest.param("long", marks=pytest.mark.long)])
def test_the_number_that_launchers_are_held_to(tmp_path, corpus):
    tiny.make_place(tmp_path)
    flags = tiny.arguments(tmp_path, "one", corpus)
    finish(warm.Started("jaxbpc.main", *flags, env=os.environ | {"XLA_FLAGS": ""}))
    tiny.check_bpc(results.read(tmp_path / "one" / "results.json"), corpus)


@pytest.mark.smoke
def test_two_processes(start):
    """Other layouts over processes are those of `test_layouts.py`."""
    finish(start("one"))
    both = tiny.start_two(start.path, "two", "--config.mesh.fsdp=4", devices=2)
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
        ("--config.batch_per_device=3", "agree on batch_per_device"),
        ("--config.model.path=absent/", "absent/ does not exist"),
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
