"""A process of two is lost or ends alone: the other ends too and says why, the run goes on."""

import contextlib
import os
import pathlib
import shutil
import signal
import time

import filelock
import pytest
import tiny

from jaxbpc.run import results

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A place where the job was run once, with what that gave, and the cache that it left."""
    folder = tmp_path_factory.mktemp("ended")
    tiny.make_place(folder)
    cache = str(folder / "cache")
    process = tiny.start(folder, "one", corpus="long", devices=2, JAXBPC_CACHE=cache)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return folder


@pytest.fixture
def place(ended, tmp_path, monkeypatch):
    """A copy of it."""
    folder = pathlib.Path(shutil.copytree(ended, tmp_path / "place"))
    monkeypatch.setenv("JAXBPC_CACHE", str(folder / "cache"))
    return folder


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def ends(process, status, words):
    """The process ends within a minute, with one line that has the words."""
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert time.monotonic() - began < 60
    lines = [line for line in err.splitlines() if line.startswith(("error:", "stopped:"))]
    assert len(lines) == 1, err
    assert words in lines[0]


def goes_on(place, workdir):
    both = tiny.start_two(place, workdir, corpus="long")
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    one, two = (results.read(place / n / "results.json") for n in ("one", workdir))
    assert two.corpora["long"].nats == pytest.approx(one.corpora["long"].nats, rel=1e-6)
    assert two.corpora["long"].nats_full == pytest.approx(one.corpora["long"].nats_full, rel=1e-6)


@contextlib.contextmanager
def tokenising(place, monkeypatch):
    """Two processes that cannot end their tokenising while the body runs."""
    key = next(p.name for p in (pathlib.Path(os.environ["JAXBPC_CACHE"]) / "tokens").glob("*.lock"))
    monkeypatch.setenv("JAXBPC_CACHE", str(place / "new-cache"))
    (place / "new-cache" / "tokens").mkdir(parents=True)
    with filelock.FileLock(place / "new-cache" / "tokens" / key):
        both = tiny.start_two(place, "two", corpus="long")
        # The run has begun where its workdir is locked; by then both are one program.
        wait_for(lambda: (place / "two" / ".lock").exists(), both[0])
        time.sleep(5)
        yield both


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("when", ["tokenising", "loading", "scoring"])
def test_killed(place, when, victim, monkeypatch):
    with contextlib.ExitStack() as stack:
        if when == "tokenising":
            both = stack.enter_context(tokenising(place, monkeypatch))
        elif when == "loading":
            monkeypatch.setenv("JAXBPC_CACHE", str(place / "new-cache"))
            both = tiny.start_two(place, "two", corpus="long")
            for line in both[victim].stderr:
                if "parameters in float32" in line:
                    break
        else:
            both = tiny.start_two(place, "two", corpus="long")
            wait_for((place / "two" / "long" / "nll" / "c" / "0").exists, both[0])
        both[victim].send_signal(signal.SIGKILL)
        ends(both[1 - victim], 75, f"process {victim} was lost; start the same command again")
    both[victim].communicate()
    goes_on(place, "two")
    assert len(results.read(place / "two" / "results.json").runs) == 1 + (when == "scoring")


@pytest.mark.parametrize("victim", [0, 1])
def test_interrupted_alone(place, victim, monkeypatch):
    with tokenising(place, monkeypatch) as both:
        both[victim].send_signal(signal.SIGINT)
        ends(both[1 - victim], 75, f"process {victim} ended alone: its own log says why")
        ends(both[victim], 75, "interrupted; start the same command again")


def test_the_writer_alone_fails(place):
    both = tiny.start_two(place, "two", corpus="long")
    nll = place / "two" / "long" / "nll"
    wait_for((nll / "c" / "0").exists, both[0])
    # No chunk of the record can be written any more, by root either.
    (nll / "c").rename(nll / "d")
    (nll / "c").write_text("")
    ends(both[0], 2, str(nll))
    ends(both[1], 2, "process 0 ended alone: its own log says why")
    (nll / "c").unlink()
    (nll / "d").rename(nll / "c")
    goes_on(place, "two")
    attempts = results.read(place / "two" / "results.json").runs
    assert all(attempt["windows_scored"] > 0 for attempt in attempts)
