"""Min-K% and the step at a cutoff, against numpy by hand and made text of a known step."""

import dataclasses
import datetime
import json
import math

import numpy as np
import pytest
import run_folders
import warm

from jaxbpc.analysis import contamination, runs
from jaxbpc.errors import InputError
from jaxbpc.report import tables
from jaxbpc.run import results
from jaxbpc.run.record import Record

CUTOFF = datetime.date(2024, 3, 31)


def documents_of(lengths, characters=None):
    """The record's rows of documents of so many tokens."""
    first = np.cumsum([0, *lengths[:-1]])
    characters = np.full(len(lengths), 9) if characters is None else characters
    zeros = np.zeros(len(lengths), np.int64)
    return np.stack([first, characters, characters, zeros, zeros - 1, zeros - 1], axis=1)


def test_min_k_by_hand():
    nan = np.nan
    nll = [nan, 1, 5, 2, 0, 3]  # 5 scored tokens: the highest, 5
    nll += [9, 1, 1, 1]  # 4: too few
    nll += [0.5, 8, 7, 1, 2, 3, 4, 0, 0, 0]  # 10: 8 and 7
    nll += [nan] * 3
    found = contamination.min_k(np.array(nll, np.float32), documents_of([6, 4, 10, 3]), 0)
    assert np.array_equal(found, [-5, nan, -7.5, nan], equal_nan=True)
    # Without each document's first token.
    found = contamination.min_k(np.array(nll, np.float32), documents_of([6, 4, 10, 3]), 1)
    assert np.array_equal(found, [-5, nan, -8, nan], equal_nan=True)


def test_min_k_against_sorting():
    random = np.random.default_rng(0)
    lengths = random.integers(0, 400, 50)
    nll = random.gamma(0.5, 4, lengths.sum()).astype(np.float32)
    found = contamination.min_k(nll, documents_of(lengths), 0)
    start = 0
    for length, value in zip(lengths, found, strict=True):
        # As the paper's code: the first int(0.2 n) of the sorted log-probabilities.
        log_probs = np.sort(-nll[start : start + length].astype(np.float64))
        n = int(length * 0.2)
        assert (n == 0 and math.isnan(value)) or value == pytest.approx(log_probs[:n].mean())
        start += length


def test_bos():
    documents = documents_of([3, 2, 0, 4], np.array([5, 6, 1, 9]))
    with_bos = np.array([0, 2, 5, 5, 11, 12, 14, 18, 21])
    assert contamination.n_bos(with_bos, documents) == 1
    two = np.array([0, 0, 5, 5, 5, 12, 12, 18, 21])
    assert contamination.n_bos(two, documents) == 2
    assert contamination.n_bos(np.array([1, 2, 5, 5, 11, 12, 14, 18, 21]), documents) == 0
    assert contamination.n_bos(np.full(9, -1), documents) == 0
    assert contamination.n_bos(np.zeros(0, np.int64), documents[:0]) == 0


def made(seed, step=1.0, factor=1.0, n=80, text=1.0, pieces=1):
    """(nats of each document's tokens, characters, dates) of n documents around the cutoff.

    step, text: by how much later documents are harder, for this model and for all.
    """
    random = np.random.default_rng(seed)
    own = np.random.default_rng(seed + 1000 + int(1000 * factor))
    nats, characters, dates = [], [], []
    for _ in range(n):
        k = 10 + random.poisson(20)
        day = CUTOFF.toordinal() + random.integers(-89, 91)
        later = day > CUTOFF.toordinal()
        level = random.uniform(0.7, 1.3) * own.normal(1, 0.02) * (text if later else 1)
        each = factor * level * (step if later else 1) * random.gamma(2, 1, k)
        nats.append(np.repeat(each / pieces, pieces))
        characters.append(4 * k)
        dates.append(day)
    return nats, np.array(characters), np.array(dates)


def write(folder, path, *arguments, **keywords):
    nats, characters, dates = made(*arguments, **keywords)
    corpora = {"news": (nats, characters)}
    run_folders.write_scored_run(folder, corpora, dates=dates, path=path)
    return str(folder)


def test_a_known_step(tmp_path):
    """15% harder after the cutoff, of which 10% are the text's; the control sees those alone."""
    old = write(tmp_path / "old", "me/old", 1, step=1.15 / 1.1, text=1.1, n=400)
    new = write(tmp_path / "new", "me/new", 1, factor=0.9, text=1.1, n=400, pieces=2)
    found, notes = contamination.steps(runs.read([old, new]), CUTOFF, "new")
    assert notes == []
    learned, control = found
    nats, characters, dates = made(1, step=1.15 / 1.1, text=1.1, n=400)
    totals = np.array([np.sum(x) for x in nats]) - np.eye(400)[0] * nats[0][0]
    late = dates > CUTOFF.toordinal()
    bpc = [totals[s].sum() / characters[s].sum() / math.log(2) for s in (~late, late)]
    assert learned.before.bpc == pytest.approx(bpc[0], rel=1e-6)
    assert learned.after.bpc == pytest.approx(bpc[1], rel=1e-6)
    assert learned.difference.value == pytest.approx(bpc[1] - bpc[0], rel=1e-5)
    assert learned.change.value == pytest.approx(100 * (bpc[1] / bpc[0] - 1), rel=1e-5)
    assert (learned.before.documents, learned.after.documents) == (sum(~late), sum(late))
    assert learned.change.low < 15 < learned.change.high
    assert learned.difference.low > 0
    # The step of the text alone is in the control's change; what is left of ours is 4.5%.
    assert control.change.low < 10 < control.change.high
    assert control.excess is None
    assert learned.control == "new"
    assert learned.excess.low > 0
    assert learned.excess.low < 1.1 * (1.15 / 1.1 - 1) * 100 < learned.excess.high
    # Pairing takes the documents' own differences out.
    width = learned.excess.high - learned.excess.low
    assert width < (learned.change.high - learned.change.low) / 4


def test_months(tmp_path):
    folder = write(tmp_path / "run", "me/x", 3, n=300)
    ((step,), _) = contamination.steps(runs.read([folder]), CUTOFF)
    nats, characters, dates = made(3, n=300)
    nats[0][0] = np.nan
    months = [f"{datetime.date.fromordinal(d):%Y-%m}" for d in dates]
    assert [p.name for p in step.periods] == sorted(set(months))
    for period in step.periods:
        which = [i for i, month in enumerate(months) if month == period.name]
        assert period.documents == len(which)
        assert period.characters == characters[which].sum()
        total = sum(np.nansum(nats[i]) for i in which)
        assert period.bpc == pytest.approx(total / period.characters / math.log(2), rel=1e-6)
        lowest = []
        for i in which:
            known = np.sort(nats[i][~np.isnan(nats[i])])[::-1]
            lowest.append(-known[: int(0.2 * len(known))].mean())
        assert period.min_k == pytest.approx(np.mean(lowest), rel=1e-6)
    # Of more than three years, years.
    spread = [datetime.date(2020 + i % 5, 1 + i % 12, 3).toordinal() for i in range(300)]
    run_folders.write_scored_run(tmp_path / "years", {"news": (nats, characters)}, dates=spread)
    ((step,), _) = contamination.steps(runs.read([str(tmp_path / "years")]), CUTOFF)
    assert [p.name for p in step.periods] == ["2020", "2021", "2022", "2023", "2024"]


@pytest.mark.long
def test_level(tmp_path):
    """Where there is no step, one is found in 5% of the runs, up to four standard deviations.

    And none that is the model's own where the text has one: by the control's change.
    """
    n = 150
    beyond = {"difference": 0, "excess": 0}
    for seed in range(n):
        folder = tmp_path / str(seed)
        plain = write(folder / "plain", "me/plain", 10 + seed, n=60)
        ((step,), _) = contamination.steps(runs.read([plain]), CUTOFF, seed=seed)
        assert (step.difference.p_value < 0.05) == (
            step.difference.low > 0 or step.difference.high < 0
        )
        beyond["difference"] += step.difference.p_value < 0.05
        both = [
            write(folder / name, f"me/{name}", 10 + seed, n=60, factor=factor, text=1.2)
            for name, factor in (("one", 1.0), ("two", 0.9))
        ]
        ((step, _), _) = contamination.steps(runs.read(both), CUTOFF, "two", seed)
        beyond["excess"] += step.excess.low > 0 or step.excess.high < 0
    most = 0.05 * n + 4 * math.sqrt(0.05 * 0.95 * n)
    assert 0 < beyond["difference"] < most
    assert 0 < beyond["excess"] < most


def test_dates_and_faults(tmp_path):
    nats, characters, dates = made(1)
    some = np.where(np.arange(80) % 10 == 0, -1, dates)
    corpora = {"news": (nats, characters)}
    run_folders.write_scored_run(tmp_path / "some", corpora, dates=some)
    found = runs.read([str(tmp_path / "some")])
    ((step,), notes) = contamination.steps(found, CUTOFF)
    assert step.before.documents + step.after.documents == 72
    assert "8 rows have no date" in notes[0]
    with pytest.raises(InputError, match="unknown --control 'x'; choose one of"):
        contamination.steps(found, CUTOFF, "x")
    with pytest.raises(InputError, match=r"no corpus has dated documents on both sides.*fewer"):
        contamination.steps(found, datetime.date(1999, 1, 1))
    run_folders.write_scored_run(tmp_path / "none", corpora)
    with pytest.raises(InputError, match="its rows have no dates"):
        contamination.steps(runs.read([str(tmp_path / "none")]), CUTOFF)
    # The day itself is before.
    edge = np.where(np.arange(80) < 3, CUTOFF.toordinal(), CUTOFF.toordinal() + 1)
    run_folders.write_scored_run(tmp_path / "edge", corpora, dates=edge)
    ((step,), _) = contamination.steps(runs.read([str(tmp_path / "edge")]), CUTOFF)
    assert (step.before.documents, step.after.documents) == (3, 77)


def test_results(tmp_path):
    """`min_k` goes into results.json and comes back; nothing of a corpus without tokens enough."""
    folder = tmp_path / "run"
    write(folder, "me/x", 5)
    found = results.read(folder / "results.json")
    record = Record.open(folder / "news")
    told = contamination.added(found.corpora["news"], record).min_k
    nats, _, _ = made(5)
    nats[0] = nats[0][1:]
    by_hand = [-np.sort(x)[::-1][: len(x) // 5].mean() for x in nats]
    assert told["mean_log_prob"] == pytest.approx(np.mean(by_hand), rel=1e-6)
    assert (told["k_percent"], told["documents"]) == (20, 80)
    again = json.loads(json.dumps(found.to_json()))
    again["corpora"]["news"]["min_k"] = told
    assert results.Results.from_json(again).corpora["news"].min_k == told
    short = tmp_path / "short"
    run_folders.write_scored_run(short, {"x": ([np.ones(3)] * 2, np.array([9, 9]))}, (4, 2))
    result = results.read(short / "results.json").corpora["x"]
    assert contamination.added(result, Record.open(short / "x")) == result


def test_the_command(tmp_path):
    folders = [write(tmp_path / "old", "me/old", 1, step=1.2, n=200)]
    folders.append(write(tmp_path / "new", "me/new", 1, factor=0.9, n=200))
    done = warm.run("jaxbpc.report", *folders, "--cutoff=2024-03", "--control=new")
    assert done.returncode == 0, done.stderr
    ((first, _), _) = contamination.steps(runs.read(folders), CUTOFF, "new")
    assert "Full BPC around the cutoff" in done.stdout
    assert f"{first.difference.low:+.4f} to {first.difference.high:+.4f}" in done.stdout
    assert f"{first.excess.value:+.2f}*" in done.stdout
    assert "no proof" in done.stdout
    assert "2024-02" in done.stdout
    text = tables.markdown(tables.around_cutoff([first], []))
    assert "| old | news |" in text
    head = "change | less the control's, points |"
    assert head in text
    assert "points: percentage points" in text


def test_the_control_is_known_as_it_was_given(tmp_path, monkeypatch):
    write(tmp_path / "runs" / "b", "me/new", 1)
    monkeypatch.chdir(tmp_path)
    (run,) = runs.read(["runs/b/"])
    for name in ("new", "b", "runs/b/", "runs/b", "./runs/b", f"file://{tmp_path}/runs/b/"):
        assert run.is_called(name), name
    for name in ("", ".", "runs", "gs://runs/b", "me"):
        assert not run.is_called(name), name
    remote = dataclasses.replace(run, folder=tmp_path / "copy" / "x", given="gs://bucket/b/")
    assert remote.is_called("gs://bucket/b")
    assert not remote.is_called(".")


def test_a_series_is_told_by_its_last(tmp_path):
    write(tmp_path / "s" / "step1", "me/step1", 1, step=1.1, factor=1.2)
    write(tmp_path / "s" / "step2", "me/step2", 1, step=1.2)
    write(tmp_path / "s" / "step3", "me/step3", 1, step=1.3, factor=0.9)
    states = [{"name": f"step{i}", "state": "done", "error": None} for i in (1, 2, 3)]
    (tmp_path / "s" / "series.json").write_text(json.dumps({"checkpoints": states}))
    command = ["jaxbpc.report", tmp_path / "s", "--cutoff=2024-03"]
    for more, told in ([], {"step3"}), (["--control=step1"], {"step1", "step3"}):
        done = warm.run(*command, *more)
        table = done.stdout.split("Full BPC around the cutoff")[1]
        assert {line.split()[0] for line in table.splitlines() if " news " in line} == told
