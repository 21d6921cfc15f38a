"""The page and its plots, without a browser: what they hold, and that nothing leads out of them."""

import base64
import hashlib
import json
import math
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import page_runs
import pytest
import run_folders
from pages import Page

from jaxbpc.analysis import compare, runs
from jaxbpc.data.windows import Plan
from jaxbpc.report.html import facts, figure_files, figures, render, svg, token_views, view
from jaxbpc.run.record import Record


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return page_runs.two_runs(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def found(folders):
    return compare.gather(runs.read(folders))


@pytest.fixture(scope="module")
def page(found):
    return Page(render.html(found))


@pytest.mark.parametrize(
    ("n", "block", "stride"),
    [(1, 8, 3), (2, 8, 3), (8, 8, 3), (9, 8, 3), (12, 8, 3), (31, 8, 3), (30, 8, 8), (20, 1, 1)],
)
def test_positions(n, block, stride):
    """Each scored token's place in the window that scores it, by going through the windows."""
    plan = Plan(n, block, stride)
    want = np.zeros(n, int)
    for i in range(plan.n_all_windows):
        window = plan.window(i)
        for token in range(window.first_scored, window.end):
            want[token] = token - window.begin
    assert figures.positions(plan)[1:].tolist() == want[1:].tolist()


@pytest.mark.parametrize(
    ("block", "stride", "want"),
    [
        (1900, 512, [0, 64, 128, 256, 512, 1024, 1388, 1516, 1644, 1772, 1900]),
        (1900, 1900, [0, 64, 128, 256, 475, 950, 1425, 1900]),
        (8, 3, [0, 5, 6, 7, 8]),
        (1, 1, [0, 1]),
    ],
)
def test_edges(block, stride, want):
    assert figures.edges(block, stride) == want


def test_curve():
    """Bins against a loop over tokens."""
    plan, random = Plan(1000, 300, 40), np.random.default_rng(0)
    nll = random.gamma(2, 1, 1000).astype(np.float32)
    nll[0] = np.nan
    characters = random.integers(0, 9, 1000)
    curve = figures.curve(0, nll, characters, plan)
    assert curve.first == [1, 65, 129, 257, 261, 271, 281, 291]
    assert curve.last == [64, 128, 256, 260, 270, 280, 290, 300]
    assert curve.n_thin == 4
    assert sum(curve.tokens) == 999
    for k, (first, last) in enumerate(zip(curve.first, curve.last, strict=True)):
        nats = n_characters = 0
        for i in range(plan.n_all_windows):
            window = plan.window(i)
            for token in range(window.first_scored, window.end):
                if first <= token - window.begin <= last:
                    nats += float(nll[token])
                    n_characters += characters[token]
        assert curve.bpc[k] == pytest.approx(nats / n_characters / math.log(2))


def test_reading():
    """A BOS, two tokens of one character, a token without score, and where what is shown ends."""
    ends = np.array([0, 3, 4, 4, 9, 12])
    nll = np.array([7, 1, 2, 4, np.nan, 5], np.float32)
    reading = token_views.reading(1, 0.9, nll, ends, 12)
    assert (reading.before, reading.lengths) == (7, [3, 1, 5, 3])
    assert reading.nats == [1, 6, None, 5]
    assert token_views.reading(1, 0.9, nll, ends, 4).lengths == [3, 1]
    assert token_views.reading(1, 0.9, nll, ends, 5).lengths == [3, 1, 5]
    unknown = token_views.reading(1, 0.9, nll, np.full(6, -1), 12)
    assert (unknown.lengths, unknown.nats) == ([], [])
    assert json.loads(json.dumps(reading.packed())) == {
        "run": 1,
        "lengths": [3, 1, 5, 3],
        "nats": [100, 600, None, 500],
    }


def test_hostile_characters():
    shown = token_views.visible("a\0\x1b\r\n\t\x7f\x85\u202eb\u2066\ufeff\u2028\U000e0041\uffff")
    assert shown == "a␀␛␍\n\t␡\ufffd\ufffdb\ufffd\ufffd␤\ufffd\ufffd"
    kept = "שלום \u200d\U0001f469\U0001f3fd e\u0301 \U00020000 \ue000"
    assert token_views.visible(kept) == kept


def test_which_texts(found, folders):
    """The hardest, the easiest and the furthest apart, counted again from the records."""
    chosen, notes = token_views.gather(found, 4000)
    assert not notes
    (prose,) = ({t.row for t in chosen if t.corpus == c} for c in ["prose"])
    each = []
    for ranked in found.ranking:
        record = Record.open(ranked.run.folder / "prose")
        nll, documents = record.read("nll"), record.read("documents")
        last = [*documents[1:, 0], len(nll)]
        nats = [np.nansum(nll[a:b], dtype=float) for a, b in zip(documents[:, 0], last)]  # noqa: B905
        each.append(np.array(nats) / documents[:, 1] / math.log(2))
    each = np.array(each)[:, :-1]  # the tiny one says little
    order = np.argsort(each.mean(0))
    ahead = each[0] - each[1]
    want = {*order[:2], *order[-2:], np.argmin(ahead), np.argmax(ahead)}
    assert prose == want
    for text in chosen:
        if text.corpus == "prose":
            told = [reading.bpc for reading in text.readings]
            assert told == pytest.approx(each[:, text.row])
            assert all(sum(r.lengths) == text.characters for r in text.readings)


def test_nothing_leads_out(page):
    """No address but places in the page; styles and scripts are those of the policy's hashes."""
    for tag, attributes in page.elements:
        assert not {"src", "srcset", "action", "style", "data"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href", "#").startswith("#")
        assert tag not in ("img", "b onmouseover=alert(3)", "link", "iframe", "object", "base")
    (policy,) = (a["content"] for a, _ in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    scripts = [text for attributes, text in page.all("script") if not attributes]
    styles = [text for _, text in page.all("style")]
    assert len(scripts) == len(styles) == 1
    for kind, (text,) in (("script", scripts), ("style", styles)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
        assert "url(" not in text
        assert "http" not in text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"][1:] for attributes, _ in page.all("a")]
    assert set(targets) <= set(ids)


def test_texts_stay_text(page):
    """Hostile documents arrive character for character, those that could move others replaced."""
    shown = [text for _, text in page.all("div", **{"class": "text"})]
    assert token_views.visible(page_runs.HOSTILE * 3) in shown
    everything = list(page.texts.values())
    everything += [value or "" for _, attributes in page.elements for value in attributes.values()]
    assert not any(c in text for text in everything for c in "\0\x1b\u202e\u2066")
    for _, packed in page.all("script", type="application/json"):
        json.loads(packed)


def test_what_it_says(page, found):
    text = " ".join(page.texts.values())
    best = found.ranking[0]
    for value in (best.run.results.average_bpc, best.average.low, best.average.high):
        assert f"{value:.4f}" in text
    (difference,) = (d for d in found.differences if d.corpus == "average")
    assert f"{difference.estimate.value:+.4f}" in text
    for ranked in found.ranking:
        for result in ranked.run.results.corpora.values():
            share = result.scored_tokens / result.tokens
            for word in (f"{result.tokens:,}", f"{share:.2%}", f"{result.characters:,}"):
                assert word in text
    assert "): significant." in view.headline(found)


def test_a_text_that_is_gone_or_changed(tmp_path):
    folders = page_runs.two_runs(tmp_path)
    (tmp_path / "data" / "prose.jsonl").unlink()
    with open(tmp_path / "data" / "python.jsonl", "a") as file:
        file.write('{"content": "more"}\n')
    page = render.html(compare.gather(runs.read(folders)))
    assert "prose: its texts are not shown: " in page
    assert "python.jsonl has changed since it was scored" in page
    assert not Page(page).all("div", **{"class": "text"})


def test_runs_without_record_or_number(tmp_path):
    """One run, without an average, whose record is gone, with a note: still a page."""
    short = run_folders.given(None, bpc_full=None, note="shorter than one <window>")
    corpora = {"python": run_folders.given(0.5), "tiny": short}
    run_folders.write_results(tmp_path / "a", corpora)
    page = render.html(compare.gather(runs.read([str(tmp_path / "a")])))
    assert "shorter than one &lt;window&gt;" in page
    assert "0.5000" in page


def test_other_files_of_one_name(tmp_path):
    for name, documents in (("a", page_runs.texts()), ("b", page_runs.texts(seed=1))):
        page_runs.write_corpus(tmp_path / name, "prose", documents)
        page_runs.write_run(
            tmp_path / f"run-{name}", tmp_path / name, {"prose": documents}, name, 4
        )
    found = compare.gather(runs.read([str(tmp_path / "run-a"), str(tmp_path / "run-b")]))
    assert "prose: its runs scored different files" in render.html(found)
    chosen, _ = token_views.gather(found, 4000)
    assert {len(text.readings) for text in chosen} == {1}


@pytest.mark.long
def test_large_texts_are_cut(tmp_path):
    """Texts of 100,000 characters that need 4 bytes each, by tokens of one character."""
    documents = {name: ["\U00020000" * 100_000] * 6 for name in ("a", "b", "c", "d")}
    for name, written in documents.items():
        page_runs.write_corpus(tmp_path, name, written)
    made = [
        str(page_runs.write_run(tmp_path / f"run{i}", tmp_path, documents, f"m{i}", 1, seed=i))
        for i in range(3)
    ]
    page = render.html(compare.gather(runs.read(made)))
    assert len(page.encode()) < render.MAX_BYTES
    assert "of 100,000 characters" in page


def test_compressors_and_min_k(found, page, tmp_path):
    """And subsets, the weighted mean, how far it was trained: where results have them, else not."""
    assert facts.baselines(found) is None
    assert not facts.min_k(found)
    assert not facts.subsets(found)
    plain = " ".join(page.texts.values())
    for words in ("general compressors", "Has the model read it?", "by subset", "Weighted"):
        assert words not in plain
    whole = render.html(compare.gather(runs.read(page_runs.whole_run(tmp_path))))
    page = Page(whole)
    (result,) = (
        r.run.results.corpora["prose"] for r in found.ranking if r.run.folder.name == "one"
    )
    cells = [text.strip() for _, text in page.all("td")]
    for cell in ("3.5352", "3.4398", "3.3905", f"{result.bpc_full:.4f}", "20%", "−6.125", "0.9877"):
        assert cell in cells
    assert {"143,000", "299,892,736,000", "2.1e+21"} <= set(cells)
    rows = [text for attributes, text in page.all("span", **{"class": "word"})]
    assert rows == [f"part {i} <b>" for i in range(12)]
    assert {"0.7000", "0.8100"} <= set(cells)
    assert "2 smaller ones are in results.json" in whole


def test_scale():
    scale = svg.Scale([0.9, 1.1])
    assert [scale.word(tick) for tick in scale.ticks] == ["0.9", "1.0", "1.1"]
    assert scale.at(1.0) == 50
    assert svg.Scale([1.0]).low < 1 < svg.Scale([1.0]).high
    assert (scale.at(-5), scale.at(5)) == (0, 100)


def test_plots(found, tmp_path):
    """SVG with words as words, the same bytes again; PNG of some size."""
    pytest.importorskip("matplotlib", reason="pip install 'jaxbpc[plots]'")
    made = figure_files.write(figures.gather(found), tmp_path)
    names = {f"{n}.{s}" for n in ("bpc", "context", "documents") for s in ("svg", "png")}
    assert {path.name for path in made} == names
    first = {path.name: path.read_bytes() for path in made}
    for name, content in first.items():
        if name.endswith(".svg"):
            words = "".join(xml.etree.ElementTree.fromstring(content).itertext())
            assert "prose" in words
            assert "two" in words
        else:
            width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
            assert width >= 700
            assert height >= 300
    (tmp_path / "again").mkdir()
    for path in figure_files.write(figures.gather(found), tmp_path / "again"):
        assert path.read_bytes() == first[path.name]


@pytest.mark.smoke
def test_the_command(folders, tmp_path):
    command = [sys.executable, "-m", "jaxbpc.report", *folders]
    path = tmp_path / "new" / "page.html"
    subprocess.run([*command, f"--html={path}"], check=True, capture_output=True)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    done = subprocess.run([*command, f"--html={tmp_path}"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
