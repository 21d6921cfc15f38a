"""However much text, no more memory: a corpus of 50 MB against one of 10 MB."""

import json
import pathlib
import random
import subprocess
import sys
import time

import pytest

MB = 1_000_000


def pss(pid):
    """Bytes of a process and all below it, shared pages counted once."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total = sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return total + sum(pss(int(child)) for child in children)


def peak(*arguments):
    """The most memory that the command had."""
    line = [sys.executable, "-m", "jaxbpc.prepare", *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        most = 0
        while process.poll() is None:
            most = max(most, pss(process.pid))
            time.sleep(0.02)
    assert process.returncode == 0
    return most


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", ["lines", "array"])
def test_memory_does_not_grow(tmp_path, form):
    draw = random.Random(0)
    words = [str(draw.getrandbits(40)) for _ in range(1000)]
    most = {}
    for size in (10 * MB, 50 * MB):
        path = tmp_path / f"{size}.json{'l' if form == 'lines' else ''}"
        with open(path, "w") as file:
            file.write("" if form == "lines" else "[")
            for i in range(size // 6000):
                separator = "" if not i else "\n" if form == "lines" else ","
                text = f"{i} " + " ".join(draw.choices(words, k=450))
                file.write(separator + json.dumps({"content": text}))
            file.write("" if form == "lines" else "]")
        out = ["--out", tmp_path, "--name", f"c{size}", "--workers=2"]
        files = peak("files", path, *out, "--near=0.8", "--sample", size // 2)
        most[size] = files, peak("check", path, "--workers=2")
    for small, large in zip(*most.values(), strict=True):
        assert large < 500 * MB
        assert large < small + 60 * MB  # pieces in flight, and 64 MB of a database's pages at most
