"""Memory of reading and tokenising does not grow with the corpus: `benchmarks/memory.py`, small."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

BENCHMARK = pathlib.Path(__file__).parents[1] / "benchmarks" / "memory.py"


def peaks(megabytes, documents, *names):
    """Peak MiB by corpus, less that of the small one; what was refused, by corpus."""
    sizes = [f"--megabytes={megabytes}", f"--documents={documents}"]
    command = [sys.executable, BENCHMARK, *sizes, "--only", "small", *names]
    done = subprocess.run(
        command, env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["corpus"]: row for row in json.loads(done.stdout.splitlines()[-1])["rows"]}
    small = rows["small"]["peak_mib"]
    refused = {name: row["refused"] for name, row in rows.items() if "refused" in row}
    return {name: rows[name]["peak_mib"] - small for name in names}, refused


@pytest.mark.long
def test_memory_of_many_documents():
    beyond, refused = peaks(60, 50_000, "large", "tiny documents", "array")
    assert not refused
    assert max(beyond.values()) < 30


@pytest.mark.long
def test_memory_of_a_line_without_end():
    beyond, refused = peaks(8000, 1, "one line")
    assert ":2: the row has more than 121,048,576 bytes" in refused["one line"]
    assert beyond["one line"] < 300
