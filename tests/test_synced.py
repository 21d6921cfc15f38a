"""A power cut: what `record.json` speaks of is on disk before it, by the system calls of a run."""

import os
import re
import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import pathlib, sys
from jaxbpc.run import attempts
from jaxbpc.run.record import Record
from test_record import SETTINGS, N, loss, stream

workdir = pathlib.Path(sys.argv[1])
with attempts.locked(workdir):
    record = Record.open_or_create(workdir / "text", SETTINGS, stream())
    for first in range(1, N, 999):
        record.write(first, loss(first, min(first + 999, N)))
    record.seal()
"""


def system_calls(trace):
    """(name, the paths, whether it is done) of the calls in a trace, as they begin and end."""
    begun = {}
    for line in trace.splitlines():
        pid, call = line.split(None, 1)
        if not (found := re.match(r"(?:<\.\.\. )?(\w+)", call)):
            continue  # a signal, or an end
        if "resumed>" in call:
            yield found[1], begun.pop(pid), True
            continue
        paths = re.findall(r'"([^"]+)"', call) or re.findall("<(/[^>]+)>", call)
        if call.endswith("<unfinished ...>"):
            begun[pid] = paths
            yield found[1], paths, False
        elif call.endswith("= 0"):
            yield found[1], paths, True


@pytest.mark.skipif(not shutil.which("strace"), reason="strace tells what is synced")
def test_what_is_claimed_is_on_disk(tmp_path):
    trace = ["strace", "-f", "-y", "-e", "trace=fsync,rename,mkdir", "-o", str(tmp_path / "trace")]
    work = [sys.executable, "-c", PROGRAM, str(tmp_path / "new" / "run")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*trace, *work], env=environment, check=True)
    synced, changed, claims = set(), set(), 0
    for name, paths, done in system_calls((tmp_path / "trace").read_text()):
        if not paths or not re.match(rf"{tmp_path}(/new(/.*)?)?$", paths[-1]):
            continue
        if name == "fsync" and done:
            synced.add(paths[0])
            changed.discard(paths[0])
        if name == "rename":
            assert paths[0] in synced, paths
            if paths[1].endswith("record.json"):
                assert not changed, (paths, changed)
                claims += 1
            if done:
                synced.discard(paths[0])
        if name != "fsync":
            changed.add(os.path.dirname(paths[-1]))
    assert claims == 2
    assert not changed
