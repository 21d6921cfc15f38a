"""The page of a training's checkpoints, and of a cutoff: each number of it, from the results."""

import json
import re

import page_runs
import pytest
import run_folders
import warm
from pages import Page

from jaxbpc.analysis import compare, contamination, runs, training_curve
from jaxbpc.report import tables
from jaxbpc.report.html import render, svg, training_chart
from jaxbpc.utils import dates

STEPS = [0, 10, 3000]
WAITING = [("step2000", "failed", "weights <b> are damaged"), ("step143000", "waiting", None)]
NAME = "a<b>\u202eseries"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A series that goes on, and one that is done, of another batch size."""
    place = tmp_path_factory.mktemp("course")
    page_runs.series(place / NAME, STEPS, states=WAITING)
    page_runs.series(place / "other", [10, 20], tokens_per_step=2**22, seed=1)
    return place


def gathered(*folders):
    curves, _ = training_curve.split([str(folder) for folder in folders])
    found = compare.gather(training_curve.members(curves))
    return training_chart.gather(curves, found), found


def test_each_checkpoint(place):
    """Every point with its limits, from the files; 0, and a cross-section of them, on the axis."""
    made, found = gathered(place / NAME)
    assert list(made.lines) == ["average", "python", "prose"]
    for name, (line,) in made.lines.items():
        assert [p.x for p in line.points] == STEPS
        for point in line.points:
            told = json.loads((place / NAME / point.name / "results.json").read_text())
            if name == "average":
                (ranked,) = (r for r in found.ranking if r.run.name == point.name)
                assert point.value == told["average_bpc"]
                assert (point.low, point.high) == (ranked.average.low, ranked.average.high)
            else:
                assert point.value == told["corpora"][name]["bpc"]
                assert [point.low, point.high] == told["corpora"][name]["bpc_interval"]
    page = Page(render.html(found, made))
    charts = page.all("figure")
    assert len(charts) == 3 + 2  # and two of context
    titles = [text for _, text in page.all("title")]
    for line in made.lines["prose"]:
        for p in line.points:
            assert f"{p.name}, step {p.x:,}: {p.value:.4f} ({p.low:.4f}–{p.high:.4f})" in titles
    cells = {text.strip() for _, text in page.all("td")}
    assert {f"{p.value:.4f}" for (line,) in made.lines.values() for p in line.points} <= cells
    notes = [text for attributes, text in page.all("p") if "warn" in attributes.get("class", "")]
    assert "step2000 failed: weights <b> are damaged" in notes
    assert "3 of 5 are scored; to come: step143000" in notes
    (headline,) = (text for _, text in page.all("p", **{"class": "headline"}))
    last = made.lines["average"][0].points[-1].value
    assert headline.startswith(f"a<b>\ufffdseries needs {last:.4f} bits per character on average")
    assert not page.all("b", onmouseover="alert(3)")


def test_two_series(place):
    """Over tokens, for their steps are not alike; their checkpoints by both names."""
    made, found = gathered(place / NAME, place / "other")
    assert made.unit == "tokens"
    assert [p.x for p in made.lines["prose"][1].points] == [10 * 2**22, 20 * 2**22]
    names = {ranked.run.name for ranked in found.ranking}
    assert {f"{NAME}/step10", "other/step10"} <= names
    assert len(names) == 5
    assert "tokens of training" in render.html(found, made)


def test_one_corpus_and_no_step(tmp_path):
    """No average of one corpus; a checkpoint that tells no step is told, and in the table."""
    for name, bpc in (("step1", 0.7), ("step20", 0.5), ("main", 0.4)):
        folder = run_folders.write_paper_run(tmp_path / "s" / name, {"python": bpc})
        step = int(name[4:]) if name != "main" else None
        page_runs.amend(folder, training={"step": step, "tokens": None, "flops": None})
    (tmp_path / "s" / "series.json").write_text('{"checkpoints": []}')
    made, found = gathered(tmp_path / "s")
    ((name, (line,)),) = made.lines.items()
    assert name == "python"
    assert [(p.x, p.value, p.low) for p in line.points] == [(1, 0.7, None), (20, 0.5, None)]
    page = Page(render.html(found, made))
    assert "main: not drawn, without a BPC or step" in " ".join(page.texts.values())
    assert "main" in [text for _, text in page.all("span", **{"class": "word"})]
    assert training_chart.headline(made) == (
        "s needs 0.5000 bits per character on python at step 20, after 0.7000 at step 1."
    )


def test_a_failed_one(tmp_path):
    """In the table it is marked; it is not drawn, and the headline is not of it."""
    page_runs.series(tmp_path / "s", [1, 10], states=[("step10", "failed", "damaged")])
    made, found = gathered(tmp_path / "s")
    assert [p.name for p in made.lines["python"][0].points] == ["step1"]
    page = Page(render.html(found, made))
    assert "step10 (failed)" in [text for _, text in page.all("span", **{"class": "word"})]
    told = " ".join(page.texts.values())
    assert "step10 failed: damaged" in told
    assert "not drawn" not in told
    assert "at step 1." in training_chart.headline(made)


def test_checkpoints_over_other_corpora(tmp_path):
    """The average is drawn over the corpora that all have, and said so."""
    for step, bpc in ((1, {"python": 0.9, "arxiv_math": 0.5}), (2, {"python": 0.8})):
        folder = run_folders.write_paper_run(tmp_path / "s" / f"step{step}", bpc)
        page_runs.amend(folder, training={"step": step, "tokens": None, "flops": None})
    made, found = gathered(tmp_path / "s")
    (line,) = made.lines["average"]
    assert [(p.value, p.low) for p in line.points] == [(0.9, None), (0.8, None)]
    text = " ".join(Page(render.html(found, made)).texts.values())
    assert "the checkpoints have not the same corpora: the average is over python" in text
    assert training_chart.headline(made) == (
        "s needs 0.8000 bits per character on python at step 2, after 0.9000 at step 1."
    )


@pytest.mark.long
def test_few_of_many(place, tmp_path):
    """Of many checkpoints some are compared, first and last among them; the chart has all."""
    steps = list(range(0, 100, 10))
    page_runs.series(tmp_path / "many", steps)
    curves, _ = training_curve.split([str(tmp_path / "many")])
    found = compare.gather(training_curve.members(curves))
    some = training_chart.few(found, curves)
    kept = {ranked.run.results.training["step"] for ranked in some.ranking}
    assert {0, 90} <= kept
    assert len(kept) == 8
    assert len(some.differences) == 28 * 3
    assert "8 of 10 checkpoints are compared; Training has them all" in some.notes
    page = Page(render.html(some, training_chart.gather(curves, found)))
    cells = [text for _, text in page.all("span", **{"class": "word"})]
    assert cells == [f"step{step}" for step in steps]
    made, found = gathered(place / "other")
    assert training_chart.few(found, made.curves) is found


def test_the_axis():
    """Linear below two decades; else powers of ten, what is equal in logarithm equally far."""
    steps = svg.Steps([1000, 2000, 9000])
    assert not steps.is_log
    assert steps.at(5000) == pytest.approx(50, abs=0.1)
    steps = svg.Steps([0, 1, 100, 10000])
    assert steps.is_log
    assert steps.at(0) < steps.at(1)
    assert steps.at(100) - steps.at(1) == pytest.approx(steps.at(10000) - steps.at(100))
    assert [word for _, word in steps.ticks()] == ["0", "1", "10", "100", "1k", "10k"]
    assert [word for _, word in svg.Steps([3e8, 3e11]).ticks()] == ["1B", "10B", "100B"]
    assert svg.Steps([7]).at(7) == 50
    assert svg.Steps([0]).ticks()
    assert [svg.short(n) for n in (0, 999, 143000, 2.5e6, 3e12)] == [
        "0",
        "999",
        "143k",
        "2.5M",
        "3T",
    ]


def reported(place, *arguments):
    """(page, what was printed) of the command."""
    path = place / "page.html"
    done = warm.run("jaxbpc.report", *arguments, f"--html={path}")
    assert done.returncode == 0, done.stderr
    return Page(path.read_text(encoding="utf-8")), done.stdout


@pytest.mark.long
def test_the_command(place, tmp_path):
    """A series alone, beside runs, and one of which nothing is scored yet."""
    headings = {}
    folders = page_runs.two_runs(tmp_path)
    (tmp_path / "new").mkdir()
    told = {"name": "step1", "step": 1, "tokens": None, "state": "running", "error": None}
    (tmp_path / "new" / "series.json").write_text(json.dumps({"checkpoints": [told]}))
    for name, given in {"alone": [], "both": folders}.items():
        page, _ = reported(tmp_path, place / NAME, *given)
        headings[name] = [text for _, text in page.all("h2")]
        names = [text for _, text in page.all("span", **{"class": "run"})]
        assert ("two" in names) == bool(given)
    assert headings["alone"] == headings["both"]
    assert headings["alone"][:2] == ["Training", "Ranking"]
    page, _ = reported(tmp_path, tmp_path / "new")
    assert [text for _, text in page.all("h2")] == ["Training"]
    text = " ".join(page.texts.values())
    assert "No checkpoint is scored yet." in text
    assert "0 of 1 are scored; to come: step1" in text


def test_the_cutoff(tmp_path):
    """Each number that the tables in the terminal have stands on the page."""
    folders = [page_runs.dated(tmp_path / "old", "me/old", 1, 1.1)]
    folders.append(page_runs.dated(tmp_path / "new", "me/new", 2))
    found = runs.read(folders)
    day = dates.day("--cutoff", "2024-03", last=True)
    around = tables.around_cutoff(*contamination.steps(found, day, "new"))
    page = Page(render.html(compare.gather(found), around=around))
    assert "Before and after the cutoff" in [text for _, text in page.all("h2")]
    everything = " ".join(page.texts.values())
    for table in around:
        for note in table.notes:
            assert note in everything
        for row in table.rows:
            for cell in row[2:]:
                for number in re.findall(r"[\d.,]+", cell):
                    assert number in everything
    summaries = [text for _, text in page.all("summary")]
    assert {"old on news, by date", "new on news, by date"} <= set(summaries)
    assert "Before and after the cutoff" not in render.html(compare.gather(found))


@pytest.mark.long
def test_the_cutoff_of_a_command(tmp_path):
    """Of a series alone it is that of its checkpoints."""
    page_runs.dated(tmp_path / "s" / "step1", "me/s", 1)
    page_runs.dated(tmp_path / "s" / "step2", "me/s", 2)
    page, printed = reported(tmp_path, tmp_path / "s", "--cutoff=2024-03")
    assert "step2 on news, by date" in printed
    assert "step2 on news, by date" in [text for _, text in page.all("summary")]


def test_the_headline_tells_each_series_own_corpora(tmp_path):
    bpc = {"wide": {"python": 0.4, "commoncraw": 0.6}, "narrow": {"python": 0.5}}
    for name, own in bpc.items():
        folder = run_folders.write_paper_run(tmp_path / name / "step1", own)
        page_runs.amend(folder, training={"step": 1, "tokens": None, "flops": None})
    corpora = {"python": run_folders.given(None, bpc_full=None), "x": run_folders.given(0.3)}
    folder = run_folders.write_results(tmp_path / "short" / "step1", corpora)
    page_runs.amend(folder, training={"step": 1, "tokens": None, "flops": None})
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "series.json").write_text('{"checkpoints": []}')
    made, _ = gathered(*(tmp_path / name for name in ("wide", "narrow", "short", "empty")))
    assert training_chart.headline(made) == (
        "wide needs 0.5000 bits per character on average over 2 corpora at step 1. "
        "narrow needs 0.5000 bits per character on python at step 1. "
        "short has no average. empty has no scored checkpoint yet."
    )
