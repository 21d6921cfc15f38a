"""Faults of the disk: full, read-only, gone, damaged. The same digits, or one error by name."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy_step
import pytest
import tiny
from damages import damages

from jaxbpc import config as config_lib
from jaxbpc.analysis import runs
from jaxbpc.data import windows
from jaxbpc.errors import InputError, Stopped
from jaxbpc.evaluation import loop
from jaxbpc.parallel import preemption
from jaxbpc.run import results
from jaxbpc.run.record import Record

pytestmark = pytest.mark.long
# Tokens a byte: two chunks of the record, 46 steps of 8 windows.
TEXTS = [text * 13 for text in (*tiny.TEXTS, "λ-calculus, 1 + 1. " * 210)]
STEPS = 46
MEMORY = pathlib.Path("/dev/shm")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model and a corpus, and what a run of them gave; a hash is in the model's place."""
    folder = tmp_path_factory.mktemp("base")
    tiny.make_model(folder / "model")
    tiny.write_corpus(folder / "data" / "text.jsonl", TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXBPC_CACHE", str(folder / "cache"))
        patch.setattr(loop, "load_job", numpy_step.load_job)
        yield folder, run(folder, folder / "whole")


@pytest.fixture
def place(base, monkeypatch):
    """A place of a test's own, with that model and corpus; in memory where there is such a disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        place = pathlib.Path(folder)
        for name in ("model", "data"):
            (place / name).symlink_to(base[0] / name)
        monkeypatch.setenv("JAXBPC_CACHE", str(place / "cache"))
        yield place


@pytest.fixture
def want(base):
    """The numbers of a run that nothing happened to."""
    return numbers(base[1])


def run(place, workdir):
    config = config_lib.default()
    config.model.path = str(place / "model")
    config.data.dir = str(place / "data")
    config.data.corpora = ("text",)
    config.window.block_size, config.window.stride = 256, 200
    config.batch_per_device = 1
    config.model.dtype = "float32"
    return loop.run(config, workdir)


def numbers(result):
    return result.corpora, result.average_bpc, result.fingerprint


def goes_on(place, workdir, want):
    """The run ends with the right digits, and scores again what is not on disk alone."""
    plan = windows.Plan(len(Record.open(workdir / "text").read("nll")), 256, 200)
    left = len(settled(workdir / "text").undone(plan))
    result = run(place, workdir)
    assert numbers(result) == want
    assert result.runs[-1]["windows_scored"] == left
    assert sum(attempt["windows_scored"] for attempt in result.runs) == plan.n_all_windows


def settled(folder):
    """A record that nothing is written to: a failed run's process is this one, and may still."""
    before, record = None, Record.open(folder)
    while (values := record.read("nll")).tobytes() != before:
        before = values.tobytes()
        time.sleep(0.3)
        record = Record.open(folder)
    return record


@contextlib.contextmanager
def after_step(number, do):
    """Calls `do` in a run's loop when the step of that number is dispatched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preemption, "must_stop", lambda step: step == number and bool(do()))
        yield


@pytest.fixture
def disk(tmp_path):
    """A disk of its own of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def fill(disk, kib=0):
    """Fills a disk but for some KiB."""
    free = shutil.disk_usage(disk).free
    with open(disk / "ballast", "ab") as file:
        file.write(bytes(max(free - kib * 1024, 0)))


def command(place, workdir, **environment):
    """The job as a command: (status, its lines on stderr)."""
    flags = ["--config.window.block_size=256", "--config.window.stride=200"]
    process = tiny.start(place, workdir, *flags, devices=8, module="numpy_step", **environment)
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, [line for line in err.splitlines() if line.startswith("error: ")]


# Of what the workdir's 1.4 MiB need: nothing fits, parts of the record, all but its end.
@pytest.mark.parametrize("kib", [0, 4, 100, 300, 800, 900, 1000, 1150, 1250, 1350])
def test_a_full_disk(place, disk, kib, want):
    fill(disk, kib)
    with pytest.raises(InputError, match=f"{disk}/run.*No space left"):
        run(place, disk / "run")
    (disk / "ballast").unlink()
    assert numbers(run(place, disk / "run")) == want


@pytest.mark.parametrize("step", [0, 20, STEPS - 1])
def test_a_disk_that_becomes_full(place, disk, step, want):
    with after_step(step, lambda: fill(disk)), pytest.raises(InputError, match=f"{disk}/run"):
        run(place, disk / "run")
    (disk / "ballast").unlink()
    goes_on(place, disk / "run", want)


def test_a_full_disk_through_the_command(place, disk, want):
    fill(disk, 900)
    status, lines = command(place, disk / "run")
    assert status == 2
    assert len(lines) == 1
    assert f"{disk}/run" in lines[0]
    (disk / "ballast").unlink()
    assert command(place, disk / "run") == (0, [])
    assert numbers(results.read(disk / "run" / "results.json")) == want


@pytest.mark.parametrize("kib", [0, 100, 400, 850])
def test_a_full_disk_under_the_cache(place, disk, kib, want, monkeypatch):
    monkeypatch.setenv("JAXBPC_CACHE", str(disk))
    fill(disk, kib)
    with pytest.raises(InputError, match=f"{disk}/tokens.*No space left.*JAXBPC_CACHE"):
        run(place, place / "run")
    (disk / "ballast").unlink()
    assert numbers(run(place, place / "run")) == want


def test_a_disk_that_goes_away(place, disk, want):
    away = place / "away"
    away.mkdir()
    mount("--bind", disk, away)
    unmount = ["umount", "-l", str(disk)]
    try:
        with (
            after_step(20, lambda: subprocess.run(unmount, check=True) and False),
            pytest.raises(InputError, match=f"{disk}/run/text has vanished under this run"),
        ):
            run(place, disk / "run")
        # Writes in flight may have made folders where the disk was: they are no record.
        assert not list(disk.rglob("*.json"))
        shutil.rmtree(disk / "run", ignore_errors=True)
        mount("--bind", away, disk)
    finally:
        subprocess.run(["umount", str(away)], check=True)
    goes_on(place, disk / "run", want)


def test_a_folder_that_goes_away(place, want):
    with (
        after_step(20, lambda: (place / "run").rename(place / "away") and False),
        pytest.raises(InputError, match="run/text has vanished under this run"),
    ):
        run(place, place / "run")
    assert not list(place.glob("run/**/*.json"))  # as above
    shutil.rmtree(place / "run", ignore_errors=True)
    (place / "away").rename(place / "run")
    goes_on(place, place / "run", want)


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def test_a_disk_that_becomes_read_only(place, disk, want):
    (disk / "run").mkdir()
    twin = place / "twin"
    twin.mkdir()
    mount("--bind", disk / "run", twin)
    mount("-o", "remount,ro,bind", twin)
    text = disk / "run" / "text"
    try:
        with (
            after_step(20, lambda: mount("--bind", twin / "text", text)),
            pytest.raises(InputError, match=f"{text}.*Read-only"),
        ):
            run(place, disk / "run")
        with pytest.raises(InputError, match=rf"{text}.*\(Read-only"):
            run(place, disk / "run")
    finally:
        subprocess.run(["umount", str(text), str(twin)], check=True)
    goes_on(place, disk / "run", want)


def test_a_read_only_disk(place, disk, want):
    run(place, disk / "run")
    mount("-o", "remount,ro", disk)
    for workdir in ("run", "new"):
        with pytest.raises(InputError, match=rf"{disk}/{workdir}.*Read-only.*--workdir"):
            run(place, disk / workdir)
    status, lines = command(place, disk / "new")
    assert (status, len(lines)) == (2, 1)
    # What only reads goes on.
    (found,) = runs.read([str(disk / "run")])
    assert numbers(found.results) == want
    assert found.documents("text").nats.sum() == pytest.approx(want[0]["text"].nats_full)


def files(place, workdir):
    """Every file that a run keeps, in its workdir and its cache of tokens; locks hold nothing."""
    found = [*(place / workdir).rglob("*"), *(place / "cache" / "tokens").rglob("*")]
    return [p for p in sorted(found) if p.is_file() and not p.name.endswith("lock")]


def half_done(place):
    """A workdir as a kill after 20 steps leaves it, and one as a signal does."""

    def copy():
        shutil.copytree(
            place / "signal", place / "kill", ignore=shutil.ignore_patterns("*lock", "*.part")
        )
        return True

    with after_step(20, copy), pytest.raises(Stopped):
        run(place, place / "signal")


NAMES = [
    "runs.json",
    "text/record.json",
    "text/documents/c/0/0",
    "text/documents/zarr.json",
    "text/nll/c/0",
    "text/nll/zarr.json",
    "text/token_char_end/c/0",
    "text/token_char_end/c/1",
    "text/token_char_end/zarr.json",
    "text/token_ids/c/0",
    "text/token_ids/c/1",
    "text/token_ids/zarr.json",
]


@pytest.mark.parametrize("state", ["ended", "kill", "signal"])
def test_every_file_damaged(place, state, want):
    """The run goes on to the same digits, or names the file; who only reads does so too."""
    if state == "ended":
        run(place, place / "ended")
    else:
        half_done(place)
    names = {str(p.relative_to(place / state)) for p in files(place, state) if state in p.parts}
    more = {"results.json", "text/nll/c/1"} if state == "ended" else set()
    assert names == {*NAMES, *more}
    shutil.copytree(place / "cache" / "tokens", place / "tokens")
    n_named = 0
    kept = [p for p in files(place, state) if state == "ended" or state in p.parts]
    if state == "signal":  # the rest is as a kill leaves it
        kept = [place / state / "text" / name for name in ("record.json", "nll/c/0")]
    for original in kept:
        for what, damaged in damages(original.read_bytes(), flips=1):
            shutil.rmtree(place / "run", ignore_errors=True)
            shutil.copytree(place / state, place / "run")
            shutil.rmtree(place / "cache" / "tokens")
            shutil.copytree(place / "tokens", place / "cache" / "tokens")
            path = original
            if original.is_relative_to(place / state):
                path = place / "run" / original.relative_to(place / state)
            path.unlink() if damaged is None else path.write_bytes(damaged)
            where = f"{path} {what}"
            if state == "ended":
                check_reader(place, want, path, where)
            found, error = outcome(lambda: numbers(run(place, place / "run")))
            if error:
                n_named += 1
                assert str(path) in error, where
                assert path.name == "record.json", where
            else:
                assert found == want, where
                assert numbers(results.read(place / "run" / "results.json")) == want, where
    assert n_named


def outcome(do):
    """What is returned, and the line that a user would get in its place."""
    try:
        return do(), None
    except InputError as e:
        return None, str(e)


def check_reader(place, want, path, where):
    """A damaged run gives a report its own digits, or an error that names the file's folder."""

    def read():
        (found,) = runs.read([str(place / "run")])
        return numbers(found.results), found.documents("text").nats.sum()

    found, error = outcome(read)
    if error:
        parts = path.relative_to(place / "run").parts
        assert str(place.joinpath("run", *parts[:2])) in error, where
    else:
        assert found == (want, pytest.approx(want[0]["text"].nats_full, rel=1e-12)), where


def test_damage_through_the_command(place, want):
    """Exit status 2 and one line for what cannot be fixed; a warning and 0 for the rest."""
    assert command(place, "run") == (0, [])
    chunk = place / "run" / "text" / "nll" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    report = [sys.executable, "-m", "jaxbpc.report", str(place / "run"), str(place / "run2")]
    shutil.copytree(place / "run", place / "run2")
    done = subprocess.run(report, env=os.environ, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert str(chunk.parent.parent) in done.stdout + done.stderr
    assert command(place, "run") == (0, [])
    assert numbers(results.read(place / "run" / "results.json")) == want
    meta = place / "run" / "text" / "record.json"
    meta.write_text(meta.read_text().replace('"version": 2', '"version": 1'))
    status, lines = command(place, "run")
    assert (status, len(lines)) == (2, 1)
    assert str(meta) in lines[0]
