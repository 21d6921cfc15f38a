"""Killed at random moments, a run ends with the digits of one that was left alone."""

import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long
SCRIPT = pathlib.Path(__file__).parents[1] / "benchmarks" / "crash.py"


@pytest.mark.parametrize(("kills", "flags"), [(20, []), (6, ["--change-batch", "--seed=1"])])
def test_kills(kills, flags):
    done = subprocess.run(
        [sys.executable, SCRIPT, f"--kills={kills}", *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert sum(told["kills"].values()) == kills
    assert told["kills"]["scoring"] or kills < 20  # of a few, all may fall elsewhere
    assert told["runs"] == told["runs_equal"] > 0
    assert told["worst"] <= (1e-6 if flags else 0)
    assert told["twice"] == told["lost_tokens"] == 0
