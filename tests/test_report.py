"""Runs side by side: intervals, pairing, and formats read back by those whose they are."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import huggingface_hub
import numpy as np
import pandas
import pytest
import run_folders
import warm
import yaml

from jaxbpc.analysis import compare, runs
from jaxbpc.errors import InputError
from jaxbpc.report import formats, tables
from jaxbpc.report.html import facts, render, view
from jaxbpc.run.record import Record


def texts(seed, n=60, pieces=1, factor=1.0):
    """(nats of each document's tokens, characters of each): the same total nats for all `pieces`.

    A document's tokens are each cut in `pieces`, as another tokenizer would.
    """
    random = np.random.default_rng(seed)
    nats, characters = [], []
    for _ in range(n):
        k = 3 + random.poisson(6)
        ease = random.uniform(0.5, 1.5)
        nats.append(np.repeat(factor * ease * random.gamma(2, 1, k) / pieces, pieces))
        characters.append(4 * k)
    return nats, np.array(characters)


@pytest.fixture
def folders(tmp_path):
    """`good` and `bad`, 2% apart, by two tokenizers, over two corpora; `alone` over a third."""
    good = {"python": texts(1), "prose": texts(2)}
    bad = {"python": texts(1, pieces=2, factor=1.02), "prose": texts(2, pieces=2, factor=1.02)}
    run_folders.write_scored_run(tmp_path / "a", good, path="me/good")
    run_folders.write_scored_run(tmp_path / "b", bad, path="me/bad|er")
    run_folders.write_scored_run(tmp_path / "c", {"other": texts(3)}, path="me/alone")
    return [str(tmp_path / name) for name in "bca"]


@pytest.fixture
def found(folders):
    return compare.gather(runs.read(folders))


def test_ranking(found):
    order = sorted(found.ranking, key=lambda r: r.run.results.average_bpc)
    assert [r.run.name for r in found.ranking] == [r.run.name for r in order]
    assert found.corpora == ["python", "prose", "other"]
    for ranked in found.ranking:
        for name, estimate in ranked.corpora.items():
            result = ranked.run.results.corpora[name]
            assert estimate.value == result.bpc
            # What the run itself has written down.
            assert result.bpc_interval == pytest.approx([estimate.low, estimate.high], abs=1e-6)
        average = ranked.average
        assert average.low < average.value < average.high
    # Of two independent corpora the mean's error is half the root of the sum of squares.
    (good,) = (r for r in found.ranking if r.run.name == "good")
    errors = [e.stderr for e in good.corpora.values()]
    assert good.average.stderr == pytest.approx(math.hypot(*errors) / 2, rel=0.05)


def test_pairs(found):
    """2% are seen in pairs, though the intervals of the two runs overlap nearly whole."""
    good, bad = (next(r for r in found.ranking if r.run.name == n) for n in ("good", "bad|er"))
    assert bad.average.low < good.average.value < bad.average.high
    difference = found.difference("bad|er", "good", "average")
    full = [r.run.results.corpora[c].bpc_full for r in (bad, good) for c in ("python", "prose")]
    assert difference.estimate.value == pytest.approx((full[0] + full[1] - full[2] - full[3]) / 2)
    assert difference.estimate.low > 0
    assert difference.estimate.p_value < 0.001
    assert difference.documents == 120
    assert found.difference("bad|er", "good", "python").documents == 60
    # Another corpus is no pair.
    assert not [d for d in found.differences if "alone" in (d.first, d.second)]


def test_the_same_seed_gives_the_same_report(folders):
    one, again, other = (compare.gather(runs.read(folders), seed) for seed in (0, 0, 1))
    assert tables.text(tables.tables(one)) == tables.text(tables.tables(again))
    assert one.differences == again.differences
    assert one.differences != other.differences


def test_documents_that_all_runs_have(tmp_path):
    """A run of the first rows is paired with a whole one over the rows that both have."""
    nats, characters = texts(1)
    other, _ = texts(1, factor=1.1)
    run_folders.write_scored_run(tmp_path / "whole", {"x": (nats, characters)}, path="whole")
    some = {"x": (other[:40], characters[:40])}
    run_folders.write_scored_run(tmp_path / "some", some, path="some")
    found = compare.gather(runs.read([str(tmp_path / "whole"), str(tmp_path / "some")]))
    (difference,) = (d for d in found.differences if d.corpus == "x")
    assert difference.documents == 40
    of_40 = [sum(float(n.sum()) for n in part[:40]) for part in (nats, other)]
    # Token 0 has no score in either.
    of_40 = [total - part[0][0] for total, part in zip(of_40, (nats, other), strict=True)]
    sign = 1 if difference.first == "whole" else -1
    want = sign * (of_40[0] - of_40[1]) / (characters[:40].sum() * math.log(2))
    assert difference.estimate.value == pytest.approx(want, rel=1e-5)
    assert any("40 documents that all runs have" in note for note in found.notes)


def test_another_template_is_not_paired(tmp_path):
    nats, characters = texts(1)
    run_folders.write_scored_run(tmp_path / "one", {"x": (nats, characters)}, path="one")
    run_folders.write_scored_run(tmp_path / "two", {"x": (nats, characters + 2)}, path="two")
    found = compare.gather(runs.read([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert not found.differences
    assert any("other characters" in note for note in found.notes)


def test_a_record_that_is_gone(folders, tmp_path):
    import shutil

    shutil.rmtree(tmp_path / "b" / "python")
    found = compare.gather(runs.read(folders))
    assert any("bad|er on python is not paired" in note for note in found.notes)
    assert found.difference("bad|er", "good", "prose")
    assert not found.difference("bad|er", "good", "average")
    # Its interval is the one that the run has written down.
    text = tables.text(tables.tables(found))
    (bad,) = (r for r in found.ranking if r.run.name == "bad|er")
    assert "{:.4f}–{:.4f}".format(*bad.run.results.corpora["python"].bpc_interval) in text


def test_a_record_of_other_results(folders, tmp_path):
    """A chunk that is lost reads as not scored: no sum may be taken of the rest."""
    record = Record.open(tmp_path / "b" / "python")
    record.write(10, np.full(30, np.nan, np.float32))
    record.flush()
    found = compare.gather(runs.read(folders))
    assert any("start the run's command again" in note for note in found.notes)
    assert not found.difference("bad|er", "good", "python")


def test_results_without_their_fields(tmp_path):
    path = run_folders.write_paper_run(tmp_path / "run", PAPER) / "results.json"
    content = json.loads(path.read_text())
    del content["model"]["path"], content["window"]["stride"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no model\.path, window\.stride"):
        runs.read([str(tmp_path / "run")])


def test_a_corpus_without_a_number(tmp_path):
    corpora = {"short": run_folders.given(None, bpc_full=None), "python": run_folders.given(0.4)}
    folder = run_folders.write_results(tmp_path / "run", corpora)
    found = compare.gather(runs.read([str(folder)]))
    assert found.ranking[0].average is None
    assert "short" in tables.text(tables.tables(found))
    assert formats.pivot_csv(found).splitlines()[1].endswith("0.400000,,")
    content = formats.lm_eval(found.ranking[0])
    assert "bpc,none" not in content["results"]["llm_compression_short"]
    assert content["results"]["llm_compression_python"]["bpc_stderr,none"] == "N/A"


def test_names_are_unique(tmp_path):
    for name in ("x", "y"):
        run_folders.write_paper_run(tmp_path / name, {"python": 0.4})
    names = [run.name for run in runs.read([str(tmp_path / "x"), str(tmp_path / "y")])]
    assert names == ["x", "y"]
    with pytest.raises(InputError, match="given twice"):
        runs.read([str(tmp_path / "x"), str(tmp_path / "x")])


PAPER = {"commoncraw": 0.6117, "python": 0.3536, "arxiv_math": 0.4995}


@pytest.fixture
def paper(tmp_path):
    """Two runs with the values of OpenCompass's own table."""
    run_folders.write_paper_run(tmp_path / "two", PAPER)
    one = {"commoncraw": 0.6285, "python": 0.3794, "arxiv_math": 0.5096}
    run_folders.write_paper_run(tmp_path / "one", one, path="huggyllama/llama-7b")
    return compare.gather(runs.read([str(tmp_path / "one"), str(tmp_path / "two")]))


def test_csv(paper, tmp_path):
    (tmp_path / "pivot.csv").write_text(formats.pivot_csv(paper))
    table = pandas.read_csv(tmp_path / "pivot.csv")
    columns = ["metric", "version", "model", "commoncraw", "python", "arxiv_math", "average"]
    assert list(table.columns) == columns
    assert list(table.model) == ["Llama-2-7b-hf", "llama-7b"]
    assert list(table.average.round(4)) == [0.4883, 0.5058]
    assert list(table.python) == [0.3536, 0.3794]
    assert table.version.nunique() == 1
    assert set(table.metric) == {"bpc"}


def test_the_versions_tell_what_can_be_compared(tmp_path):
    run_folders.write_paper_run(tmp_path / "all", PAPER)
    run_folders.write_paper_run(tmp_path / "some", PAPER, data={"samples": 100})
    found = compare.gather(runs.read([str(tmp_path / "all"), str(tmp_path / "some")]))
    versions = {line.split(",")[1] for line in formats.pivot_csv(found).splitlines()[1:]}
    assert len(versions) == 2


def test_lm_evaluation_harness(found, tmp_path):
    """The file has what `make_table` reads; with the harness at hand, it makes the table."""
    formats.write_lm_eval(found, tmp_path)
    (path,) = tmp_path.glob("good/results_2026-11-25T04-00-00+00-00.json")
    content = json.loads(path.read_text())
    tasks = content["results"]
    (good,) = (r for r in found.ranking if r.run.name == "good")
    python = good.run.results.corpora["python"]
    assert tasks["llm_compression_python"]["bpc,none"] == python.bpc
    assert tasks["llm_compression_python"]["bits_per_byte,none"] == python.bpb
    assert tasks["llm_compression"]["bpc,none"] == good.run.results.average_bpc
    half = (python.bpc_interval[1] - python.bpc_interval[0]) / 2 / 2.001
    assert tasks["llm_compression_python"]["bpc_stderr,none"] == pytest.approx(half, rel=0.1)
    # What bytes do with the choice of documents is another matter.
    assert tasks["llm_compression_python"]["bits_per_byte_stderr,none"] == "N/A"
    names = set(tasks)
    for field in ("versions", "n-shot", "higher_is_better"):
        assert set(content[field]) == names
    assert set(content["configs"]) == set(content["n-samples"]) == names - {"llm_compression"}
    assert content["group_subtasks"]["llm_compression"] == sorted(
        names - {"llm_compression"}, reverse=True
    )
    utils = pytest.importorskip("lm_eval.utils", reason="lm-evaluation-harness is not installed")
    assert f"{python.bpc:.4f}" in utils.make_table(content)
    assert f"{good.run.results.average_bpc:.4f}" in utils.make_table(content, "groups")


def test_a_model_card(paper, tmp_path):
    """huggingface_hub reads the front matter as results of the paper's dataset."""
    formats.write_hf(paper, tmp_path / "hf")
    text = (tmp_path / "hf" / "Llama-2-7b-hf" / "model-index.yaml").read_text()
    card = huggingface_hub.ModelCard(f"---\n{text}---\n# Llama")
    assert card.data.model_name == "Llama-2-7b-hf"
    values = {(r.dataset_config, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert values["cc", "bpc"] == 0.6117
    assert values["arxiv_math", "bpc"] == 0.4995
    assert {r.dataset_type for r in card.data.eval_results} == {"hkust-nlp/llm-compression"}
    assert {r.dataset_split for r in card.data.eval_results} == {"test"}
    own = tmp_path / "hf" / "Llama-2-7b-hf" / ".eval_results" / "llm-compression.yaml"
    entries = yaml.safe_load(own.read_text())
    assert [e["value"] for e in entries] == list(PAPER.values())
    assert entries[0]["date"] == "2026-11-25"
    parse = getattr(huggingface_hub, "parse_eval_result_entries", None)
    if parse is None:
        pytest.skip("this huggingface_hub has no reader of .eval_results")
    read = parse(entries)
    assert [e.task_id for e in read] == ["cc", "python", "arxiv_math"]
    assert "stride 512, bfloat16" in read[0].notes


def test_other_corpora_are_not_the_hubs(found):
    """A corpus that has the name alone is not put down to the paper's dataset."""
    for ranked in found.ranking:
        assert formats.eval_results(ranked) is None
        index = yaml.safe_load(formats.model_index(ranked))["model-index"][0]
        assert {r["dataset"]["type"] for r in index["results"]} <= {"python", "prose", "other"}


def test_markdown(found):
    text = tables.markdown(tables.tables(found))
    first = [line for line in text.split("## ")[1].splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in first}) == 1
    assert len(first) == 2 + 3
    assert "bad\\|er" in text
    assert "## Differences" in text


def command(module, *arguments):
    return warm.run(f"jaxbpc.{module}", *arguments)


@pytest.mark.parametrize("command", ["report", "fit"])
def test_a_full_stdout_loses_no_file(tmp_path, command):
    run_folders.write_paper_run(
        tmp_path / "run", {"commoncraw": 0.6, "python": 0.5, "arxiv_math": 0.4}
    )
    kept = tmp_path / "kept"
    flag = {"report": f"--csv={kept}", "fit": f"--json={kept}"}[command]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", f"jaxbpc.{command}", str(tmp_path / "run"), flag],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: stdout cannot be written")
    assert kept.read_text()


@pytest.mark.smoke
def test_the_command(folders, tmp_path):
    out = tmp_path / "out"
    flags = [f"--markdown={out}/r.md", f"--csv={out}/r.csv", f"--lm_eval={out}/lm", f"--hf={out}"]
    done = command("report", *folders, *flags)
    assert done.returncode == 0, done.stderr
    assert "less the one above" in done.stdout
    assert len(pandas.read_csv(out / "r.csv")) == 3
    assert len(list(out.glob("lm/*/results_*.json"))) == 3
    assert len(list(out.glob("*/model-index.yaml"))) == 3
    assert (out / "r.md").read_text().startswith("## Bits per character")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one run's folder or more"),
        (["absent"], "absent/results.json: no such file"),
        (["RUN", "RUN"], "given twice"),
        (["RUN", "--csv=RUN/results.json/x.csv"], "results.json"),
        (["RUN", "--seed=-1"], "seed"),
    ],
)
def test_what_is_at_fault(folders, arguments, message):
    done = command("report", *(a.replace("RUN", folders[0]) for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


def test_a_folder_of_runs_is_no_training(folders):
    """Runs without step and tokens are ranked, by the folder that holds them as by their own."""
    done = command("report", str(pathlib.Path(folders[0]).parent))
    assert done.returncode == 0, done.stderr
    assert done.stdout == command("report", *sorted(folders)).stdout


def test_results_that_are_no_object(tmp_path):
    (tmp_path / "results.json").write_text("[]")
    done = command("report", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "results.json: no readable results (it holds no JSON object)" in done.stderr


@pytest.mark.parametrize("module", ["report", "fit", "verify"])
def test_help_waits_for_no_large_library(module):
    code = f"import sys, jaxbpc.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large = {"jax", "transformers", "datasets", "torch", "matplotlib", "pandas", "huggingface_hub"}
    assert not large & set(done.stdout.split())
    done = command(module, "--help")
    assert done.returncode == 0
    assert f"python -m jaxbpc.{module}" in done.stdout


def test_compressors_stand_in_a_table_of_their_own(tmp_path):
    bits = {"gzip": 2.5, "xz": 2.25, "zstd": 2.125}
    run_folders.write_results(tmp_path / "a", {"python": run_folders.given(0.5)})
    both = {"python": run_folders.given(0.6, baselines=bits), "prose": run_folders.given(0.7)}
    run_folders.write_results(tmp_path / "b", both)
    found = compare.gather(runs.read([str(tmp_path / "a"), str(tmp_path / "b")]))
    (table,) = (t for t in tables.tables(found) if t.title == "Compressors")
    assert table.head == ["", "python", "prose"]
    assert table.rows == [["gzip", "2.5000", "-"], ["xz", "2.2500", "-"], ["zstd", "2.1250", "-"]]
    assert "Compressors" in tables.markdown(tables.tables(found))


def gathered(tmp_path, runs_of, **fields):
    """A comparison of runs with results alone, {name: {corpus: result}}, without their records."""
    for name, corpora in runs_of.items():
        run_folders.write_results(tmp_path / name, corpora, path=name, **fields)
    found = compare.gather(runs.read([str(tmp_path / name) for name in runs_of]))
    notes = [note for note in found.notes if "is not paired: " not in note]
    return dataclasses.replace(found, notes=notes)


def order(found):
    return [ranked.run.name for ranked in found.ranking]


def test_averages_of_other_corpora_do_not_compare(tmp_path):
    """Ranked over what all have; no run is called the best."""
    given = run_folders.given
    wide = {"python": given(0.4), "prose": given(0.9)}
    found = gathered(tmp_path, {"wide": wide, "hard": {"python": given(0.5)}})
    assert order(found) == ["wide", "hard"]
    note = "the runs have not the same corpora: their averages do not compare"
    assert found.notes == [f"{note}; they are ranked over python"]
    assert view.headline(found) == "2 runs over 2 corpora."
    page = render.html(found)
    assert page.count(note) == 1
    assert ">best<" not in page
    found = gathered(tmp_path, {"hard": {"python": given(0.5)}, "other": {"prose": given(0.3)}})
    assert order(found) == ["other", "hard"]
    assert found.notes == [note]
    found = gathered(tmp_path, {"wide": wide, "worse": {"python": given(0.5), "prose": given(0.9)}})
    assert not found.notes
    assert view.headline(found).endswith(", the least of 2 runs.")
    assert ">best<" in render.html(found)
    found = gathered(tmp_path, {"none": {"python": given(None, bpc_full=None)}})
    assert view.headline(found) == "1 run over 1 corpus."


def test_one_name_of_two_texts(tmp_path):
    """Other files, or rows, or templates: told in all formats; no compressor stands for both."""
    bits = {"gzip": 2.5}
    one = {"x": run_folders.given(0.5, baselines=bits), "y": run_folders.given(0.5, baselines=bits)}
    two = one | {"x": run_folders.given(0.6, corpus_sha256="2f")}
    found = gathered(tmp_path, {"one": one, "two": two})
    note = "x: its runs scored different files, their numbers do not compare"
    assert found.notes[0] == note
    made = tables.tables(found)
    assert note in tables.text(made)
    assert note in tables.markdown(made)
    assert note in render.html(found)
    versions = {line.split(",")[1] for line in formats.pivot_csv(found).splitlines()[1:]}
    assert len(versions) == 2
    (table,) = (t for t in made if t.title == "Compressors")
    assert table.rows == [["gzip", "-", "2.5000"]]
    assert table.notes == ["x is left out: its runs scored different texts"]
    assert [name for name, *_ in facts.baselines(found)["rows"]] == ["y"]
    short = [run_folders.given(None, bpc_full=0.5, corpus_sha256=sha) for sha in ("2f", "3f")]
    assert gathered(tmp_path, {str(i): {"x": r} for i, r in enumerate(short)}).unlike == ["x"]
    some = {"x": run_folders.given(0.6, 500), "y": run_folders.given(0.5)}
    found = gathered(tmp_path, {"one": one, "two": some})
    assert found.notes[0].startswith("x: its runs scored different text of one file")
    run_folders.write_results(tmp_path / "two", one, path="two", data={"template": "{content}\n"})
    found = compare.gather(runs.read([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert found.unlike == ["x", "y"]
    assert not found.is_level


def test_runs_of_the_same_text_are_paired_whatever_the_first_is(tmp_path):
    nats, characters = texts(1)
    other, _ = texts(1, factor=1.1)
    parts = {"odd": (nats, characters + 2), "a": (nats, characters), "b": (other, characters)}
    for name, part in parts.items():
        run_folders.write_scored_run(tmp_path / name, {"x": part}, path=name)
    found = compare.gather(runs.read([str(tmp_path / name) for name in parts]))
    assert {(d.first, d.second) for d in found.differences} == {("b", "a")}
    assert found.difference("b", "a", "x").documents == 60
    assert any(note.startswith("a, b on x are not paired with odd: ") for note in found.notes)
    assert not any("paired over" in note for note in found.notes)


def test_another_template_is_not_the_hubs_text(tmp_path):
    bpc = {"commoncraw": 0.6, "python": 0.5, "arxiv_math": 0.4}
    for data, configs in (
        ({}, {"cc", "python", "arxiv_math"}),
        ({"template": "T: {content}"}, set()),
    ):
        folder = run_folders.write_paper_run(tmp_path / "run", bpc, data=data)
        (ranked,) = compare.gather(runs.read([str(folder)])).ranking
        told = {formats.hub_config(ranked.run, name) for name in bpc}
        assert told - {None} == configs
        assert (formats.eval_results(ranked) is None) == (not configs)


def test_other_settings_are_told(tmp_path):
    """A stride or a dtype moves a BPC as a model does: a note says which run has which."""
    scored = {"x": texts(1)}
    a = run_folders.write_scored_run(tmp_path / "a", scored, path="me/a")
    b = run_folders.write_scored_run(tmp_path / "b", scored, path="me/b")
    assert not compare.gather(runs.read([str(a), str(b)])).notes
    amend = json.loads((b / "results.json").read_text())
    amend["window"]["stride"], amend["model"]["dtype"] = 64, "float32"
    (b / "results.json").write_text(json.dumps(amend))
    notes = compare.gather(runs.read([str(a), str(b)])).notes
    assert notes == [
        "the runs have not the same window (1900, stride 512: a; 1900, stride 64: b): "
        "differences are also the window's",
        "the runs have not the same dtype (bfloat16: a; float32: b): "
        "differences are also the dtype's",
    ]


def test_a_run_by_its_results(folders, tmp_path):
    by_file = runs.read([f"{folders[0]}/results.json"])
    assert by_file[0].folder == runs.read([folders[0]])[0].folder
    with pytest.raises(InputError, match="is a folder of runs"):
        runs.read([str(tmp_path)])
