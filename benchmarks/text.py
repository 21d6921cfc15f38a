"""Text at corpus scale: `prepare files` and `check` over gigabytes, their memory and speed.

  python benchmarks/text.py [--gigabytes 2] [--folder DIR] [--workers N]

Makes a file of JSON lines (the interpreter's own sources cut in documents of 5,000 characters, each
with a number of its own, so that none is dropped) and its zstd copy in a temporary folder, removed
at the end. Each command is timed once, beside `cat` and `zstd -d` of the same bytes; those with
--near, --language and --against on an eighth of them. Memory is that of a command's processes
together, shared pages counted once (Linux: PSS, looked at 20 times a second); MB a CPU second
depend less on what else the machine does. Prints a table and a line of JSON.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time

import demo

from jaxbpc.prepare.readers import inputs

DOCUMENT = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--folder")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    flags = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=flags.folder) as temporary:
        folder = pathlib.Path(temporary)
        size = int(flags.gigabytes * 1e9)
        sizes = {
            "all": make(folder / "all.jsonl", size),
            "some": make(folder / "some.jsonl", size // 8),
        }
        with (
            open(folder / "all.jsonl", "rb") as source,
            inputs.zstd().open(folder / "all.jsonl.zst", "wb") as target,
        ):
            while block := source.read(1 << 24):
                target.write(block)
        for name, on, command in commands(folder, flags.workers):
            seconds, cpu, peak = measure(command)
            rates = {"mb_per_s": sizes[on] / 1e6 / seconds, "mb_per_cpu_s": sizes[on] / 1e6 / cpu}
            row = {"command": name, "mb": sizes[on] / 1e6, "s": seconds, "cpu_s": cpu}
            rows.append(row | rates | {"peak_mb": peak / 1e6})
            print(f"{name}: {seconds:.1f} s", file=sys.stderr)
        manifest = json.loads((folder / "a.manifest.json").read_text())
        assert manifest["documents"] == manifest["seen"], manifest
        assert (folder / "a.jsonl").stat().st_size > sizes["all"]
    columns = [name for name in rows[0] if name != "command"]
    print(f"{'command':<28}" + "".join(f"{name:>14}" for name in columns))
    for row in rows:
        print(f"{row['command']:<28}" + "".join(f"{row[name]:>14,.1f}" for name in columns))
    about = {"documents": manifest["documents"], "workers": flags.workers}
    print(json.dumps(about | {"rows": rows, "machine": demo.machine()}))


def commands(folder: pathlib.Path, workers: int) -> list[tuple[str, str, list[str]]]:
    """(name, which of the two sizes, command line)."""
    prepare = [sys.executable, "-m", "jaxbpc.prepare"]
    files = [*prepare, "files", f"--out={folder}", f"--workers={workers}"]
    check = [*prepare, "check", f"--workers={workers}"]
    whole, some = str(folder / "all.jsonl"), str(folder / "some.jsonl")
    return [
        ("cat", "all", ["cat", whole]),
        ("zstd -d", "all", ["zstd", "-dc", whole + ".zst"]),
        ("files", "all", [*files, whole, "--name=a"]),
        ("files, from .zst", "all", [*files, whole + ".zst", "--name=b"]),
        ("check", "all", [*check, str(folder / "a.jsonl")]),
        ("files --near", "some", [*files, some, "--name=c", "--near=0.8"]),
        ("files --language", "some", [*files, some, "--name=d", "--language=en,de,fr,es,it,la"]),
        (
            "check --against",
            "some",
            [*check, str(folder / "c.jsonl"), f"--against={folder / 'd.jsonl'}"],
        ),
    ]


def make(path: pathlib.Path, size: int) -> int:
    """Writes JSON lines of about `size` bytes; returns how many."""
    stdlib = pathlib.Path(sysconfig.get_paths()["stdlib"])
    text = "\n".join(p.read_text("utf-8", "ignore") for p in sorted(stdlib.glob("*.py")))
    pieces = [text[i : i + DOCUMENT] for i in range(0, len(text) - DOCUMENT, DOCUMENT)]
    lines = [json.dumps({"text": piece}, ensure_ascii=False).encode()[10:] for piece in pieces]
    n = written = 0
    with open(path, "wb") as file:
        while written < size:
            written += file.write(b'{"text": "%d ' % n + lines[n % len(lines)] + b"\n")
            n += 1
    return written


def measure(command: list[str]) -> tuple[float, float, int]:
    """(seconds, CPU seconds, peak bytes of memory) of a command and the processes it starts."""
    began = time.perf_counter()
    cpu: dict[int, float] = {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, look(process.pid, cpu))
            time.sleep(0.05)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu[process.pid] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, sum(cpu.values()), peak


def look(pid: int, cpu: dict[int, float]) -> int:
    """Bytes of a process and all below it, shared pages counted once; CPU seconds go to `cpu`."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total = next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return 0
    return total + sum(look(int(child), cpu) for child in children)


if __name__ == "__main__":
    main()
