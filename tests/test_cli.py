"""What becomes of a command whose stdout or stderr takes nothing, or not every letter."""

import os
import subprocess
import sys

import pytest

SHOW = "from jaxbpc import cli; cli.run(lambda: cli.show('gr\\xfcn', 'see F'), 'help')"
WORK = """
from jaxbpc import cli; from jaxbpc.utils import progress
from jaxbpc.errors import InputError
def main():
    with progress.Bar('work', 'B', 3) as bar:
        bar.update(3)
    progress.tell('said')
    cli.show('done', 'see F')
cli.run(main, 'help')
"""
LOST = """
import gc, os, signal, time
from jaxbpc import cli
def collecting(phase, info):
    gc.callbacks.remove(collecting)
    os.kill(os.getpid(), signal.{})
    time.sleep(1)
def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    gc.callbacks.append(collecting)
    gc.collect()
    time.sleep(60)
cli.run(main, 'help')
"""


def run(code, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **variables):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=stdout,
        stderr=stderr,
        env=os.environ | variables,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("where", ["full disk", "closed pipe"])
def test_stdout_that_takes_nothing(where):
    if where == "full disk":
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, stdout = os.pipe()
        os.close(reading)
    done = run(SHOW, stdout=stdout)
    os.close(stdout)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: stdout cannot be written")
    assert "see F" in line


@pytest.mark.parametrize(
    ("name", "reason"), [("SIGTERM", "terminated by SIGTERM"), ("SIGINT", "interrupted")]
)
def test_a_signal_in_the_garbage_collector_is_not_lost(name, reason):
    done = run(LOST.format(name))
    assert done.returncode == 75
    assert done.stderr == f"stopped: {reason}; start the same command again to go on\n"


def test_stdout_of_a_small_alphabet():
    done = run(SHOW, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "gr\\xfcn\n", "")


def test_an_argument_that_is_no_text():
    # In this locale the bytes of ü are no letters.
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(SHOW, "grün", **locale)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'gr\\udcc3\\udcbcn' is no text")
    assert "PYTHONUTF8=1" in done.stderr


def test_stderr_that_takes_nothing():
    with open("/dev/full", "w") as full:
        done = run(WORK, stderr=full)
        assert (done.returncode, done.stdout) == (0, "done\n")
        assert run(WORK, "--nonsense", stderr=full).returncode == 2
    closed = run(f"import os, sys; os.close(2); sys.stderr = None\n{WORK}")
    assert (closed.returncode, closed.stdout) == (0, "done\n")
