"""Kills the main job again and again, at random moments, and compares what it ends with.

  python benchmarks/crash.py --kills 200 [--model tiny|demo|FOLDER] [--change-batch] [--seed 0]

`tiny` is a random model on two random corpora, `demo` is configs/demo.py, a FOLDER a model on the
demo's texts. One run is left alone; then the same command is started over and over on one workdir
and killed (SIGKILL) as it starts, after any of its windows, or as it ends, until an attempt ends by
itself; then on a new workdir, until there were that many kills. Of a tiny model's workdirs each
third begins with an empty cache, so that kills fall into tokenising and compiling too.

Each workdir must end with the digits of the run that was left alone: all of them, or where
--change-batch gives each attempt another batch size and mesh, nats within 1e-6. What was on disk
at a kill must still be there, bit by bit, after the next attempt, and its windows must not be
scored again. Prints a table and a line of JSON; exit status 1 where something is not so.
"""

import argparse
import json
import os
import pathlib
import random
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import demo
import growth
import numpy as np

from jaxbpc.run import record, results

TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
# Devices, axis of the mesh, windows a device: what attempts may differ in.
LAYOUTS = [(1, "data", 1), (1, "data", 4), (2, "data", 2), (2, "fsdp", 3), (2, "tensor", 1)]
Arrays = dict[str, np.ndarray]


def attempt(log: str, flags: list[str]) -> None:
    """This process is the main job; `log` gets a line a window: corpus, first token, how many."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    write = record.Record.write

    def logged(self: record.Record, first: int, nll: np.ndarray) -> None:
        os.write(file, f"{self.folder.name} {first} {len(nll)}\n".encode())
        write(self, first, nll)

    record.Record.write = logged  # type: ignore[method-assign]
    sys.argv = ["jaxbpc.main", *flags]
    runpy.run_module("jaxbpc.main", run_name="__main__", alter_sys=True)


class Job:
    """The command, and the workdir that it is killed in."""

    def __init__(self, model: str, place: pathlib.Path):
        config = "configs/llama.py" if model == "tiny" else "configs/demo.py"
        self.place, self.workdir, self.log = place, place / "run", place / "log"
        self.flags = [f"--config={pathlib.Path(__file__).parents[1] / config}"]
        self.environment = {"JAX_PLATFORMS": "cpu", **os.environ}
        # Attempts should be short: each of a tiny model's programs is compiled once.
        self.environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        self.cache = place / "cache" if model == "tiny" else None
        self.process: subprocess.Popen | None = None
        if model == "tiny":
            self._make_tiny()
        elif model != "demo":
            self.flags.append(f"--config.model.path={model}")

    def _make_tiny(self) -> None:
        import safetensors.numpy

        growth.make_model(self.place / "model", TINY)
        path = self.place / "model" / "model.safetensors"
        tensors = safetensors.numpy.load_file(path)
        tensors["lm_head.weight"] *= 100  # every token has nats of its own
        safetensors.numpy.save_file(tensors, path)
        # The second corpus is more than a chunk of the record.
        letters = np.random.RandomState(0).randint(97, 123, 90_000)
        for name, part in (("one", letters[:18_001]), ("two", letters[18_001:])):
            text = bytes(part.tolist()).decode()
            lines = [json.dumps({"content": text[i : i + 5000]}) for i in range(0, len(text), 5000)]
            (self.place / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        self.environment["JAXBPC_CACHE"] = str(self.cache)
        self.flags += [f"--config.model.path={self.place}/model", "--config.model.dtype=float32"]
        self.flags += [f"--config.data.dir={self.place}", "--config.data.corpora=one,two"]
        self.flags += ["--config.window.block_size=128", "--config.window.stride=120"]

    def start(self, layout: tuple[int, str, int]) -> subprocess.Popen:
        """Starts an attempt; its log is empty at first."""
        self.log.unlink(missing_ok=True)
        devices, axis, batch = layout
        flags = [*self.flags, f"--config.batch_per_device={batch}", f"--workdir={self.workdir}"]
        flags += [f"--config.mesh.{axis}={devices}"]
        device_flag = f"--xla_force_host_platform_device_count={devices}"
        with open(self.place / "stderr", "w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--attempt", str(self.log), *flags],
                env=self.environment | {"XLA_FLAGS": device_flag},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        return self.process

    def stop(self) -> None:
        """Ends an attempt that still writes into the place."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def logged(self) -> list[tuple[str, int, int]]:
        """(corpus, first token, tokens) of each window of the last attempt."""
        log = self.log.read_text() if self.log.exists() else ""
        # A line may be seen, or cut off by the kill, half written; its window is not yet recorded.
        lines = log[: log.rfind("\n") + 1].splitlines()
        return [(name, int(first), int(n)) for name, first, n in map(str.split, lines)]

    def nll(self) -> Arrays:
        """What is on disk: the nats of each corpus's tokens, NaN where there are none."""
        folders = [path.parent for path in self.workdir.glob("*/record.json")]
        return {folder.name: record.Record.open(folder).read("nll") for folder in folders}

    def results(self) -> dict[str, Any]:
        """What the workdir's run ended with, by corpus."""
        return results.read(self.workdir / "results.json").corpora

    def renew(self, cold: bool) -> None:
        """A new workdir; `cold`: an empty cache too."""
        shutil.rmtree(self.workdir, ignore_errors=True)
        if cold and self.cache:
            shutil.rmtree(self.cache, ignore_errors=True)


class Moment:
    """When to kill an attempt: so many seconds after it started, or after its n-th window."""

    def __init__(self, phase: str, windows: int, seconds: float):
        self.phase, self.windows, self.seconds = phase, windows, seconds

    def wait(self, process: subprocess.Popen, job: Job) -> bool:
        """Kills the attempt at its moment; says whether it ended before."""
        began, scored = time.monotonic(), self.windows == 0
        while process.poll() is None:
            if not scored and len(job.logged()) >= self.windows:
                began, scored = time.monotonic(), True
            if scored and time.monotonic() - began >= self.seconds:
                process.kill()
                process.wait()
                return False
            time.sleep(0.002)
        return process.returncode >= 0


class Chance:
    """Draws moments from all of an attempt; what an attempt takes is what the last ones took."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.start_s = self.end_s = 0.0

    def moment(self, remaining: int) -> Moment:
        """A moment of an attempt that has so many windows to score."""
        phase = self.random.choice(("start", "scoring", "scoring", "end"))
        if phase == "start":
            return Moment(phase, 0, self.random.uniform(0, self.start_s))
        if phase == "end":
            return Moment(phase, remaining, self.random.uniform(0, self.end_s))
        n = self.random.randint(1, max(remaining, 1))
        return Moment(phase, n, self.random.uniform(0, 0.01))

    def learn(self, process: subprocess.Popen, job: Job) -> None:
        """Lets an attempt end by itself, and sees how long its start and end take."""
        began, first, last, n = time.monotonic(), 0.0, 0.0, 0
        while process.poll() is None:
            now, size = time.monotonic(), len(job.logged())
            if size > n:
                first, last, n = first or now, now, size
            time.sleep(0.01)
        self.start_s, self.end_s = first - began, time.monotonic() - last


class Tally:
    """What went right and wrong over all attempts."""

    def __init__(self) -> None:
        self.kills = {"start": 0, "scoring": 0, "end": 0}
        self.runs = self.runs_equal = 0
        self.worst = 0.0
        self.twice = self.lost_tokens = self.in_flight = self.most_in_flight = 0

    def killed(self, before: Arrays, after: Arrays, log: list[tuple[str, int, int]], n: int):
        """Counts an attempt that was killed; `n`: windows that were to be scored as it began."""
        on_disk = [bool(np.isfinite(after[name][i : i + k]).all()) for name, i, k in log]
        self.kills["end" if sum(on_disk) == n else "scoring" if log else "start"] += 1
        flying = len(log) - sum(on_disk)
        self.in_flight += flying
        self.most_in_flight = max(self.most_in_flight, flying)
        self.compare(before, after, log)

    def compare(self, before: Arrays, after: Arrays, log: list[tuple[str, int, int]]) -> None:
        """Counts windows that were on disk and scored again, and tokens that changed or are gone.

        A window over two chunks may be on disk by half: that half is scored again.
        """
        again: Arrays = {name: np.zeros(len(values), bool) for name, values in before.items()}
        for name, i, k in log:
            if name in before:
                self.twice += bool(np.isfinite(before[name][i : i + k]).all())
                again[name][i : i + k] = True
        for name, values in before.items():
            kept = np.isfinite(values) & ~again[name]
            same = values[kept] == after.get(name, np.full(len(values), np.nan))[kept]
            self.lost_tokens += int(np.count_nonzero(~same))

    def ended(self, want: dict, got: dict, exactly: bool) -> None:
        """Counts a run that ended, with its digits."""
        self.runs += 1
        pairs = [(getattr(want[n], f), getattr(got[n], f)) for n in want for f in FIELDS]
        worst = max(abs(b / a - 1) for a, b in pairs)
        self.worst = max(self.worst, worst)
        self.runs_equal += got == want if exactly else worst < 1e-6

    def right(self) -> bool:
        """Whether nothing was lost, changed or done twice."""
        return self.runs == self.runs_equal and not self.twice and not self.lost_tokens


FIELDS = ("nats", "nats_full", "bpc", "bpc_full")


def crash(job: Job, kills: int, change: bool, seed: int) -> tuple[Tally, int]:
    """Runs and kills; returns the tally, and the windows of a run."""
    chance, tally = Chance(seed), Tally()
    for _ in range(2 if job.cache else 1):  # the first one of a tiny model compiles
        job.renew(cold=False)
        chance.learn(alone := job.start(LAYOUTS[0]), job)
        check(alone, job)
    want, n_windows = job.results(), len(job.logged())
    while True:
        job.renew(cold=tally.runs % 3 == 2)
        before: Arrays = {}
        remaining, ended = n_windows, False
        while not ended:
            layout = chance.random.choice(LAYOUTS) if change else LAYOUTS[0]
            process = job.start(layout)
            if sum(tally.kills.values()) < kills:
                ended = chance.moment(remaining).wait(process, job)
            else:
                process.wait()
                ended = True
            after, log = job.nll(), job.logged()
            if ended:
                check(process, job)
                tally.compare(before, after, log)
            else:
                tally.killed(before, after, log, remaining)
                done = sum(np.isfinite(after[name][i : i + k]).all() for name, i, k in log)
                remaining, before = remaining - int(done), after
                print(f"{tally.kills} {remaining} left", file=sys.stderr, flush=True)
        tally.ended(want, job.results(), exactly=not change)
        if sum(tally.kills.values()) >= kills:
            return tally, n_windows


def check(process: subprocess.Popen, job: Job) -> None:
    """Ends the benchmark where an attempt failed."""
    if process.returncode:
        sys.exit(
            f"an attempt ended with {process.returncode}:\n{(job.place / 'stderr').read_text()}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--change-batch", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        job = Job(args.model, pathlib.Path(place))
        try:
            tally, n_windows = crash(job, args.kills, args.change_batch, args.seed)
        finally:
            job.stop()
    print(f"{'kills at':<10}{'start':>7}{'scoring':>9}{'end':>5}{'runs':>7}{'equal':>7}", end="")
    print(f"{'worst':>10}{'in flight':>11}{'most':>6}{'twice':>7}{'lost':>6}{'seconds':>9}")
    print(f"{sum(tally.kills.values()):<10}{tally.kills['start']:>7}", end="")
    print(f"{tally.kills['scoring']:>9}{tally.kills['end']:>5}{tally.runs:>7}", end="")
    print(f"{tally.runs_equal:>7}{tally.worst:>10.1e}{tally.in_flight:>11}", end="")
    print(f"{tally.most_in_flight:>6}{tally.twice:>7}{tally.lost_tokens:>6}", end="")
    print(f"{time.monotonic() - began:>9.0f}")
    summary = {"model": args.model, "change_batch": args.change_batch, "seed": args.seed}
    summary |= {"windows": n_windows, **vars(tally), "machine": demo.machine()}
    print(json.dumps(summary))
    sys.exit(not tally.right())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--attempt"]:
        attempt(sys.argv[2], sys.argv[3:])
    else:
        main()
