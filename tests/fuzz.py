"""Fuzzes every reader of strangers' files, guided by coverage (extra `fuzz`: atheris).

  python tests/fuzz.py [--seconds 60] [--reader NAME]

Each reader runs so long in a process of its own, from inputs that are right. An exception other
than InputError, a wrong result, more than 3 GiB of memory or 20 s for one input is a fault: it is
printed with the input's file, and the status is 1. Prints inputs tried and seconds, as a table and
a line of JSON.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time


def work(name: str, seconds: int, folder: pathlib.Path) -> None:
    """Fuzzes one reader in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["jaxbpc"]):
        import readers

    place = folder / name
    readers.prepare(folder)
    seeds = folder / f"{name} seeds"
    seeds.mkdir()
    for i, seed in enumerate(readers.SEEDS[name]):
        (seeds / str(i)).write_bytes(seed)
    longest = 4 * max(map(len, readers.SEEDS[name]))
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=3072", "-timeout=20"]
    limits += [f"-max_len={longest}", f"-artifact_prefix={folder}/{name.replace(' ', '-')}-"]
    atheris.Setup(
        [sys.argv[0], *limits, str(seeds)], lambda data: readers.READERS[name](data, place)
    )
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--reader")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work[0], args.seconds, pathlib.Path(args.work[1]))
        return
    import readers

    rows = []
    print(f"{'reader':<20}{'inputs':>10}{'seconds':>9}  faults")
    for name in [args.reader] if args.reader else readers.READERS:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
        command = [sys.executable, __file__, f"--seconds={args.seconds}", "--work", name]
        began = time.monotonic()
        done = subprocess.run(
            [*command, str(folder)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            errors="replace",
        )
        counts = [int(n) for n in re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)]
        counts += [int(n) for n in re.findall(r"Done (\d+) runs", done.stderr)]
        row = {"reader": name, "inputs": max(counts, default=0), "fault": ""}
        row["seconds"] = round(time.monotonic() - began)
        if done.returncode:
            said = re.findall(r"(?m)^(?:\w*Error|\w*Exception|==\d+== ERROR|Fatal).*", done.stderr)
            row["fault"] = f"{' | '.join(said)[:300] or done.stderr[-300:]} in {folder}"
            (folder / "stderr").write_text(done.stderr)
        rows.append(row)
        print(f"{name:<20}{row['inputs']:>10,}{row['seconds']:>9}  {row['fault']}", flush=True)
    print(json.dumps(rows))
    sys.exit(any(row["fault"] for row in rows))


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    main()
