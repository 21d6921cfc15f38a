"""A series of checkpoints: one compilation, one tokenisation, the curve of single runs."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import huggingface_hub
import jax
import numpy as np
import numpy_step
import page_runs
import pytest
import run_folders
import safetensors.numpy
import tiny
import warm
from huggingface_hub import GitRefInfo, GitRefs
from jax import monitoring

from jaxbpc import config as config_lib
from jaxbpc.analysis import training_curve
from jaxbpc.checkpoint import export_orbax, load, locate
from jaxbpc.data import tokens
from jaxbpc.errors import InputError, Stopped
from jaxbpc.evaluation import loop, sweep
from jaxbpc.fit import scaling_points
from jaxbpc.report import tables
from jaxbpc.run import results

STEPS = (8, 9, 10, 11, 100)  # of which the order by name is another


def make_checkpoints(folder, names):
    """Models that differ; config.json and the tokenizer are in the folder above, once."""
    tiny.make_model(folder)
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    for i, name in enumerate(names):
        (folder / name).mkdir()
        scaled = {key: value * np.float32(1 + i / 4) for key, value in weights.items()}
        safetensors.numpy.save_file(scaled, folder / name / "model.safetensors")
    (folder / "model.safetensors").unlink()
    return folder


def make_config(folder, **fields):
    config = config_lib.default()
    config.model.path, config.data.dir = str(folder / "model"), str(folder / "data")
    config.data.corpora, config.model.dtype = ("text",), "float32"
    config.window.block_size, config.window.stride = 100, 40
    config.training.tokens_per_step = 1000.0
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return config


@pytest.fixture
def place(tmp_path, without_a_model):
    return make_place(tmp_path)


def make_place(tmp_path):
    make_checkpoints(tmp_path / "model", [f"step{step}" for step in STEPS])
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS)
    return tmp_path


def score(config, workdir, pattern="step*"):
    failed = sweep.run(config, sweep.find(config, pattern), workdir)
    return [(checkpoint.name, checkpoint.error) for checkpoint in failed]


@pytest.mark.long
def test_one_compilation_one_tokenisation_and_the_digits_of_single_runs(tmp_path, monkeypatch):
    place = make_place(tmp_path)
    compiled, tokenised, held = [], [], []
    plain = tokens._tokenize
    monkeypatch.setattr(tokens, "_tokenize", lambda *a: tokenised.append(a) or plain(*a))

    plain_load = load.load

    def loads(*arguments):
        held.append(sum(array.nbytes for array in jax.live_arrays()))
        return plain_load(*arguments)

    monkeypatch.setattr(load, "load", loads)

    def heard(name, *_, **__):
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(name)

    monitoring.register_event_duration_secs_listener(heard)
    try:
        config = make_config(place)
        score(config, place / "warm", "step8")  # what is compiled once a process
        n = []
        for workdir, pattern in (("one", "step8"), ("five", "step*")):
            compiled.clear()
            assert not score(config, place / workdir, pattern)
            n.append(len(compiled))
    finally:
        monitoring.unregister_event_duration_listener(heard)
    assert n == [2, 2]  # the first window's step and the others', of one checkpoint or five
    assert len(tokenised) == 1
    assert len(set(held[1:])) == 1  # of the checkpoint before nothing is left when one is loaded
    (found,), _ = training_curve.split([str(place / "five")])
    assert [run.name for run in found.runs] == [f"step{step}" for step in STEPS]
    for step, run in zip(STEPS, found.runs, strict=True):
        single = make_config(place, model__path=str(place / "model" / f"step{step}"))
        want = loop.run(single, place / f"single{step}")
        assert run.results.corpora == want.corpora
        assert run.results.fingerprint == want.fingerprint
        assert run.results.training == want.training
        assert run.results.training["tokens"] == 1000 * step
    assert len({run.results.corpora["text"].bpc for run in found.runs}) == len(STEPS)
    by_tokens = scaling_points.read([str(place / "five")], "tokens", "text")
    assert [c.x for c in by_tokens] == [1000.0 * step for step in STEPS]
    assert [c.bpc for c in by_tokens] == [run.results.corpora["text"].bpc for run in found.runs]


def reported(*folders):
    done = warm.run("jaxbpc.report", *folders)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def times(workdir):
    return {path.parent.name: path.stat().st_mtime_ns for path in workdir.glob("*/results.json")}


@pytest.mark.smoke
def test_a_failed_one_is_named_and_the_rest_goes_on(place):
    config, workdir = make_config(place), place / "run"
    file = place / "model" / "step10" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:5000])
    (failed,) = score(config, workdir)
    assert failed[0] == "step10"
    assert "a damaged or truncated safetensors file" in failed[1]
    (found,), _ = training_curve.split([str(workdir)])
    assert [run.name for run in found.runs] == ["step8", "step9", "step11", "step100"]
    assert found.notes == [f"step10 failed: {failed[1]}"]
    before = times(workdir)
    file.write_bytes(whole)
    assert not score(config, workdir)
    after = times(workdir)
    assert after.keys() - before.keys() == {"step10"}
    assert {name: after[name] for name in before} == before
    # Other weights in the place of those that were scored, or another corpus, are no results.
    file.write_bytes((place / "model" / "step9" / "model.safetensors").read_bytes())
    assert [name for name, _ in score(config, workdir)] == ["step10"]
    assert times(workdir) == after
    tiny.write_corpus(place / "data" / "text.jsonl", tiny.TEXTS[1:])
    assert len(score(config, workdir)) == len(STEPS)


def overwrite(place, name, by):
    """Puts the weights of another checkpoint in the place of one's, as a training loop does."""
    folders = [place / "model" / folder for folder in (by, name)]
    files = [folder / "model.safetensors" for folder in folders]
    files[1].write_bytes(files[0].read_bytes())


@pytest.mark.parametrize("when", ["loaded", "scored"])
def test_what_is_overwritten_while_it_is_scored_is_not_done(place, monkeypatch, when):
    """Changed as it is loaded, nobody knows what was; later, it is another checkpoint."""
    name = "load_job" if when == "loaded" else "_score_all"
    plain = getattr(loop, name)

    def and_overwrite(*arguments):
        found = plain(*arguments)
        overwrite(place, "step8", "step9")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(loop, name, and_overwrite)
        failed = score(make_config(place), place / "run", "step8")
    assert bool(failed) == (when == "loaded")
    assert all("step8: its files changed while they were loaded" in error for _, error in failed)
    failed = score(make_config(place), place / "run", "step8")
    assert bool(failed) == (when == "scored")
    assert all("weights differ" in error for _, error in failed)


def test_a_link_that_leads_elsewhere_is_not_done(place):
    link = place / "model" / "step_latest"
    link.symlink_to("step9")
    assert not score(make_config(place), place / "run", "step_latest")
    before = times(place / "run")
    assert not score(make_config(place), place / "run", "step_latest")
    assert times(place / "run") == before
    link.unlink()
    link.symlink_to("step8")
    (failed,) = score(make_config(place), place / "run", "step_latest")
    assert "weights differ" in failed[1]


def test_a_run_of_some_keeps_what_is_told_of_the_others(place):
    """A failed one stays failed until it is scored, by whichever run."""
    config, workdir = make_config(place), place / "run"
    assert not score(config, workdir, "step[89]")
    overwrite(place, "step9", "step8")
    ((_, error),) = score(config, workdir, "step9")
    assert "(weights differ): give another --workdir, or remove all of" in error
    assert error.endswith(str(workdir / "step9"))
    assert not score(config, workdir, "step8")
    told = json.loads((workdir / "series.json").read_text())["checkpoints"]
    assert [(c["name"], c["state"], c["error"]) for c in told] == [
        ("step8", "done", None),
        ("step9", "failed", error),
    ]
    (found,), _ = training_curve.split([str(workdir)])
    assert [run.name for run in found.runs] == ["step8", "step9 (failed)"]
    assert [run.name for run in found.good] == ["step8"]
    shutil.rmtree(workdir / "step9")
    assert not score(config, workdir, "step9")
    (found,), _ = training_curve.split([str(workdir)])
    assert [run.name for run in found.good] == ["step8", "step9"]
    assert not found.notes


def test_a_stopped_run_leaves_a_failed_one_failed(place, monkeypatch):
    config, workdir = make_config(place), place / "run"
    assert not score(config, workdir, "step8")
    overwrite(place, "step8", "step9")
    ((_, error),) = score(config, workdir, "step8")

    def stop(_):
        raise Stopped("a signal ended the run")

    monkeypatch.setattr(numpy_step, "fingerprint", stop)
    with pytest.raises(Stopped):
        score(config, workdir, "step[89]")
    told = json.loads((workdir / "series.json").read_text())["checkpoints"]
    assert [(c["state"], c["error"]) for c in told] == [("failed", error), ("waiting", None)]


def write_curve(folder, bpc_by_step, failed=(), **fields):
    """A series' folder, {step: BPC}; a step of None is called latest."""
    told = []
    for step, bpc in bpc_by_step.items():
        name = "latest" if step is None else f"step{step}"
        run_folders.write_paper_run(folder / name, {"python": bpc}, **fields)
        trained = {"step": step, "tokens": step and step * 1e6, "flops": None}
        page_runs.amend(folder / name, training=trained)
        error = "weights differ" if step in failed else None
        told.append({"name": name, "state": "failed" if error else "done", "error": error})
    (folder / "series.json").write_text(json.dumps({"checkpoints": told}))
    return str(folder)


def test_failed_ones_are_marked_and_not_fitted(tmp_path, caplog):
    folder = write_curve(tmp_path / "s", {1: 0.9, 2: 0.7, 3: 0.6}, failed=[2])
    ((found,), _) = training_curve.split([folder])
    table = tables.over_training(found)
    assert [row[0] for row in table.rows] == ["step1", "step2 (failed)", "step3"]
    assert "step2 failed: weights differ" in table.notes
    assert "step2: the numbers shown are of an earlier scoring" in table.notes
    assert [c.x for c in scaling_points.read([folder], "tokens", "python")] == [1e6, 3e6]
    assert "step2 (failed) is left out" in caplog.text


def test_one_that_tells_no_tokens_is_not_fitted(tmp_path, caplog):
    folder = write_curve(tmp_path / "s", {1: 0.9, None: 0.5, 3: 0.6})
    assert [c.x for c in scaling_points.read([folder], "tokens", "python")] == [1e6, 3e6]
    assert "latest is left out: it does not report the tokens" in caplog.text
    with pytest.raises(InputError, match="does not report the flops"):
        scaling_points.read([folder], "flops", "python")


@pytest.mark.parametrize(
    ("fields", "note", "has_average"),
    [
        (
            {"model": {"dtype": "float32"}},
            "not the same dtype (bfloat16: step1, step2; float32: step3)",
            True,
        ),
        (
            {"window": {"block_size": 1900, "stride": 9}},
            "not the same window (1900, stride 512: step1, step2; 1900, stride 9: step3)",
            True,
        ),
        ({"sha256": "2e"}, "python: its checkpoints scored different files", False),
        ({"characters": 5}, "python: its checkpoints scored different text of one file", False),
        (
            {"template": "{content} "},
            "python: its checkpoints scored different text of one file",
            False,
        ),
        (
            {"corpora": ["python", "arxiv_math"]},
            "not the same corpora: the average is over python",
            True,
        ),
        ({"corpora": ["arxiv_math"]}, "not the same corpora: there is no average", False),
    ],
    ids=str,
)
def test_what_is_not_alike_is_told(fields, note, has_average, tmp_path, caplog):
    """By the table and by fit power; the average is over the same text, or none."""
    folder = write_curve(tmp_path / "s", {1: 0.9, 2: 0.7, 3: 0.6})
    last = pathlib.Path(folder) / "step3"
    content = json.loads((last / "results.json").read_text())
    content["model"] |= fields.get("model", {})
    content["window"] |= fields.get("window", {})
    python = content["corpora"]["python"]
    python["corpus_sha256"] = fields.get("sha256", python["corpus_sha256"])
    python["characters"] = fields.get("characters", python["characters"])
    content["config"]["data"]["template"] = fields.get("template", "{content}")
    content["corpora"] = dict.fromkeys(fields.get("corpora", ["python"]), python)
    (last / "results.json").write_text(json.dumps(content))
    ((found,), _) = training_curve.split([folder])
    table = tables.over_training(found)
    assert sum(note in told for told in table.notes) == 1
    means = [row[-1] for row in table.rows]
    if not has_average:
        assert means == ["-", "-", "-"]
        with pytest.raises(InputError, match="no BPC on average"):
            scaling_points.read([folder], "tokens", "average")
    else:
        assert means == ["0.9000", "0.7000", "0.6000"]
        assert [c.bpc for c in scaling_points.read([folder], "tokens", "average")] == [
            0.9,
            0.7,
            0.6,
        ]
    assert note in caplog.text


def test_runs_that_do_not_all_tell_a_step_are_no_training(tmp_path):
    folder = pathlib.Path(write_curve(tmp_path / "s", {1: 0.9, None: 0.5}))
    (folder / "series.json").unlink()
    assert training_curve.split([str(folder)]) == (
        [],
        [str(folder / "latest"), str(folder / "step1")],
    )
    page_runs.amend(folder / "latest", training={"step": None, "tokens": 5, "flops": None})
    assert len(training_curve.split([str(folder)])[0]) == 1


def test_the_state_of_files(tmp_path):
    """Another where a link, also one inside and to a folder, leads elsewhere; a circle ends."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("as long")
    (tmp_path / "step1").mkdir()
    (tmp_path / "step1" / "circle").symlink_to(tmp_path / "step1")
    (tmp_path / "step1" / "nowhere").symlink_to("absent")
    link = tmp_path / "step1" / "state"
    states = []
    for name in ("a", "b"):
        link.symlink_to(tmp_path / name)
        states += [locate.files_state(str(tmp_path / "step1")) for _ in range(2)]
        link.unlink()
    link.symlink_to(tmp_path / "a")
    (tmp_path / "a" / "x").write_text("longer than before")
    states += [locate.files_state(str(tmp_path / "step1")) for _ in range(2)]
    assert states[::2] == states[1::2]
    assert len(set(states)) == 3
    assert locate.files_state("owner/model") is None
    assert locate.files_state("gs://bucket/model") is None


@pytest.mark.long
def test_orbax_steps_by_the_command(tmp_path):
    """Stopped by a signal, started again; the table; the report of what is there."""
    place = make_place(tmp_path)
    for step in STEPS:
        export_orbax.convert(str(place / "model" / f"step{step}"), str(place / "orbax" / str(step)))
    shutil.rmtree(place / "model")
    tiny.write_corpus(place / "data" / "text.jsonl", tiny.TEXTS * 12)
    fields = {
        "model.path": place / "orbax",
        "data.dir": place / "data",
        "data.corpora": "text",
        "model.dtype": "float32",
        "window.block_size": 100,
        "window.stride": 40,
    }
    settings = [f"--config.{name}={value}" for name, value in fields.items()]
    command = [sys.executable, "-m", "jaxbpc.main", "--config=configs/llama.py", *settings]
    command += [f"--workdir={place / 'run'}", "--checkpoints=[0-9]*"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    deadline = time.monotonic() + 300
    while not (place / "run" / "9" / "results.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    kept = times(place / "run")
    assert {"8", "9"} <= kept.keys() < {str(step) for step in STEPS}
    (told,) = [line for line in reported(place / "run") if "to come" in line]
    assert told.startswith(f"{len(kept)} of 5 are scored; to come: ")
    done = subprocess.run(command, check=False, **pipes)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[4:9]]
    assert [row[:2] for row in rows] == [[str(step), str(step)] for step in STEPS]
    for row in rows:
        bpc = results.read(place / "run" / row[0] / "results.json").corpora["text"].bpc
        assert row[3] == f"{bpc:.4f}"
    assert {name: times(place / "run")[name] for name in kept} == kept
    (place / "orbax" / "9" / "state" / "_METADATA").write_text("{")
    done = subprocess.run(command, check=False, **pipes)
    assert done.returncode == 2
    assert "error: 1 of 5 checkpoints failed (9)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_two_processes(tmp_path):
    """One checkpoint has a loss that is no number; both go on to the others."""
    place = make_place(tmp_path)
    file = place / "model" / "step9" / "model.safetensors"
    weights = safetensors.numpy.load_file(file)
    weights["model.norm.weight"][3] = np.nan
    safetensors.numpy.save_file(weights, file)
    both = tiny.start_two(place, "two", "--checkpoints=step*")
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 2, err
        assert "error: 1 of 5 checkpoints failed (step9)" in err
        assert "step9 failed: text: the loss is not finite in window 0" in err
    config = make_config(place)
    assert [name for name, _ in score(config, place / "one")] == ["step9"]
    runs = [training_curve.split([str(place / name)])[0][0].runs for name in ("one", "two")]
    for one, two in zip(*runs, strict=True):
        assert two.name == one.name
        assert two.results.environment["processes"] == 2
        want = one.results.corpora["text"].bpc
        assert two.results.corpora["text"].bpc == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "how", "words"),
    [
        ({"training__step": 5}, {"pattern": "step*"}, r"config\.training\.step is of one"),
        ({}, {"pattern": "ckpt*"}, "has no folder 'ckpt"),
        ({}, {"pattern": "step1,ckpt*"}, "has no folder 'ckpt"),
        ({}, {"pattern": "/abs/step*"}, r"not '/abs/step\*': give --config.model.path=FOLDER"),
        ({}, {"pattern": "../model/step*"}, "give --config.model.path=FOLDER"),
        ({}, {"pattern": "gs://b/step*"}, "give --config.model.path=FOLDER"),
        ({}, {"pattern": "**step"}, "give a pattern such as"),
        ({}, {"pattern": ","}, "give a pattern such as"),
        ({}, {"pattern": "."}, "give a pattern such as"),
        ({"model__path": "absent"}, {"pattern": "*"}, "absent is no folder"),
        ({}, {"pattern": "*", "revisions": ["a"]}, "one of them"),
        ({}, {"revisions": ["a/b", "a-b"]}, "same name"),
    ],
    ids=str,
)
def test_what_is_no_series(fields, how, words, tmp_path):
    (tmp_path / "model" / "step1").mkdir(parents=True)
    with pytest.raises(InputError, match=words):
        sweep.find(make_config(tmp_path, **fields), **how)


@pytest.mark.parametrize(
    ("file", "words"), [("runs.json", "a run of"), ("series.json", "a series")]
)
def test_a_workdir_is_of_one_kind(place, file, words):
    (place / "run").mkdir()
    (place / "run" / file).write_text("{}")
    config = make_config(place)
    start = score if file == "runs.json" else loop.run
    with pytest.raises(InputError, match=f"belongs to {words}"):
        start(config, place / "run")


@pytest.mark.parametrize(
    ("folders", "pattern", "names"),
    [
        (["step9/hf", "step10/hf"], "*/hf", {"step9": 9, "step10": 10}),
        (["run1/step9/hf", "run2/step9/hf"], "*/step*/hf", {"run1-step9": 9, "run2-step9": 9}),
        (["run1/step9/hf"], "*/step9/hf", {"run1-step9": 9}),
        (["step9/a", "step9/b"], "step*/*", {"step9-a": 9, "step9-b": 9}),
        (["2024/last/hf", "2024/7/hf"], "2024/*/hf", {"2024-last": None, "2024-7": 7}),
        (["step9", "step10"], "step9,step1*,step10", {"step9": 9, "step10": 10}),
        (["step9/hf", "step10/hf"], "step9/hf,step10/hf,", {"step9": 9, "step10": 10}),
        (["a/step9", "b/hf"], "a/step9,b/hf", {"a-step9": 9, "b-hf": None}),
        (["step8", "step9"], "step[8,9]", {"step8": 8, "step9": 9}),
        (["step9/hf"], "**", {"step9": 9, "step9-hf": 9}),
        (["step9", "step9-tmp-1/step10"], "**/step*", {"step9": 9}),
    ],
    ids=str,
)
def test_folders_go_by_their_paths(folders, pattern, names, tmp_path):
    """None hides another of the same name; the step is of the last folder that tells one."""
    for folder in folders:
        (tmp_path / "model" / folder).mkdir(parents=True)
    found = sweep.find(make_config(tmp_path), pattern)
    assert {c.name: c.to_json()["step"] for c in found} == names
    assert all(
        c.to_json()["tokens"] == (step and 1000 * step) for c in found for step in [names[c.name]]
    )
    assert len({c.config.model.path for c in found}) == len(names)


def test_two_folders_of_one_name_are_refused(tmp_path):
    for folder in ("a/b", "a-b"):
        (tmp_path / "model" / folder).mkdir(parents=True)
    with pytest.raises(InputError, match="same name"):
        sweep.find(make_config(tmp_path), "**/*b")


def test_revisions_go_by_their_steps(tmp_path):
    config = make_config(tmp_path, model__path="owner/model")
    found = sweep.find(config, revisions=["step10", "main", "step9"])
    assert [c.name for c in found] == ["main", "step9", "step10"]
    assert [c.config.model.revision for c in found] == ["main", "step9", "step10"]
    assert [c.to_json()["tokens"] for c in found] == [None, 9000, 10000]
    assert config.model.revision is None


@pytest.mark.usefixtures("without_a_model")
def test_a_revision_that_moved_on_the_hub_is_not_done(tmp_path, monkeypatch):
    """One that stayed is not loaded again, nor are all where the hub cannot be asked."""
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS)
    cached = tmp_path / "models--owner--model" / "snapshots"
    for commit, scale in (("a1", 0.1), ("b2", 0.2), ("c3", 0.3)):
        tiny.make_model(cached / commit, scale)
    hub = {"main": "b2", "step9": "a1"}

    def list_repo_refs(path):
        assert path == "owner/model"
        if not hub:
            raise OSError("no network")
        refs = [GitRefInfo(name, f"refs/{name}", commit) for name, commit in hub.items()]
        return GitRefs(branches=refs[:1], converts=[], tags=refs[1:])

    def download(path, revision, **_):
        return str(cached / hub.get(revision, "a1"))

    monkeypatch.setattr(huggingface_hub, "list_repo_refs", list_repo_refs)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    scored = []
    plain = loop.run
    monkeypatch.setattr(loop, "run", lambda *a: scored.append(a[1].name) or plain(*a))

    def again():
        scored.clear()
        locate.hub_commits.cache_clear()
        config = make_config(tmp_path, model__path="owner/model")
        found = sweep.find(config, revisions=["main", "step9"])
        return [(c.name, c.error) for c in sweep.run(config, found, tmp_path / "run")]

    assert not again()
    assert scored == ["main", "step9"]
    assert results.read(tmp_path / "run" / "main" / "results.json").runs[-1]["commit"] == "b2"
    assert not again()
    assert not scored
    hub["main"] = "c3"
    ((name, error),) = again()
    assert (name, scored) == ("main", ["main"])
    assert "weights differ" in error
    hub["main"] = "b2"
    assert not again()
    hub.clear()
    assert not again()
    assert not scored


def test_the_curve_of_a_series_that_grows(tmp_path):
    for step, bpc in ((200, 0.5), (1000, 0.4)):
        folder = run_folders.write_paper_run(tmp_path / "s" / f"step{step}", {"python": bpc})
        fields = json.loads((folder / "results.json").read_text())
        fields["training"] = {"step": step, "tokens": step * 2e6, "flops": None}
        (folder / "results.json").write_text(json.dumps(fields))
    states = [("step0", "failed", "damaged"), ("step200", "done", None), ("step1000", "done", None)]
    states += [("step3000", "waiting", None)]
    told = [{"name": n, "state": s, "error": e} for n, s, e in states]
    (tmp_path / "s" / "series.json").write_text(json.dumps({"checkpoints": told}))
    run_folders.write_paper_run(tmp_path / "other", {"python": 0.3})
    lines = reported(tmp_path / "s", tmp_path / "other")
    assert lines[0] == "Bits per character over training: s"
    assert lines[4].split() == ["step200", "200", "4e+08", "0.5000", "0.5000"]
    assert lines[5].split() == ["step1000", "1000", "2e+09", "0.4000", "0.4000"]
    assert "step0 failed: damaged" in lines
    assert "2 of 4 are scored; to come: step3000" in lines
    assert "Bits per character" in lines  # of the other run
    assert [c.x for c in scaling_points.read([str(tmp_path / "s")], "tokens", "python")] == [
        4e8,
        2e9,
    ]
    with pytest.raises(InputError, match="does not report the flops"):
        scaling_points.read([str(tmp_path / "s")], "flops", "python")


def test_a_run_is_no_series(tmp_path):
    run_folders.write_paper_run(tmp_path / "run", {"python": 0.3})
    (tmp_path / "empty" / "python").mkdir(parents=True)
    folders = [str(tmp_path / "run"), str(tmp_path / "empty"), str(pathlib.Path("absent"))]
    assert training_curve.split(folders) == ([], folders)
