"""The page in a browser: alone, quiet, for everyone; its colours and keys, counted again."""

import json

import browsers
import page_runs
import pytest

from jaxbpc.analysis import compare, contamination, runs, training_curve
from jaxbpc.report import tables
from jaxbpc.report.html import render, token_views, training_chart, view
from jaxbpc.utils import dates

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return compare.gather(runs.read(page_runs.two_runs(tmp_path_factory.mktemp("runs"))))


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(render.html(found), encoding="utf-8")
    return path


def test_quiet_alone_and_accessible(browser, path):
    browsers.check(browser, path)


def drawn(visit, where):
    """[(x, y) of each mark of a chart, in its own pixels from below]."""
    return visit.page.evaluate(
        "where => { const chart = document.querySelector(where), box = chart"
        ".getBoundingClientRect(); return [...chart.querySelectorAll('svg.mark')].map(e => {"
        "const own = e.querySelector('path').getBoundingClientRect(); return ["
        "(own.left + own.right) / 2 - box.left, box.bottom - (own.top + own.bottom) / 2] }) }",
        where,
    )


def test_a_series_and_a_cutoff(browser, tmp_path):
    """What else a page may have is as quiet; the marks of a training stand where they should."""
    page_runs.series(
        tmp_path / "s<b>", [0, 1, 10, 100, 10_000], states=[("step3", "failed", "x" * 300)]
    )
    curves, _ = training_curve.split([str(tmp_path / "s<b>")])
    own = compare.gather(training_curve.members(curves))
    trained = training_chart.gather(curves, own)
    old = page_runs.dated(tmp_path / "old", "me/old", 1, 1.1)
    new = page_runs.dated(tmp_path / "new", "me/new", 2)
    found = runs.read([*page_runs.whole_run(tmp_path), old, new])
    day = dates.day("--cutoff", "2024-03", last=True)
    around = tables.around_cutoff(*contamination.steps(found, day, "new"))
    pages = {
        "whole": render.html(compare.gather(found), trained, around),
        "alone": render.html(own, trained),
        "none": render.html(compare.gather([]), training_chart.gather([], compare.gather([]))),
    }
    for name, text in pages.items():
        path = tmp_path / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        browsers.check(browser, path)
    visit = browsers.Visit(browser, tmp_path / "whole.html")
    visit.page.evaluate("document.querySelectorAll('details').forEach(e => (e.open = true))")
    visit.page.emulate_media(media="print")
    visit.page.set_viewport_size({"width": 688, "height": 1000})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 688
    visit = browsers.Visit(browser, tmp_path / "whole.html", "phone")
    marks = sorted(drawn(visit, "section[aria-labelledby=training] .chart"))
    xs, ys = zip(*marks, strict=True)
    assert len(marks) == 5
    assert xs[0] < xs[1]
    assert xs[3] - xs[1] == pytest.approx(xs[4] - xs[3], abs=1)  # 1, 100, 10,000
    values = [p.value for p in trained.lines["average"][0].points]
    scale = (ys[0] - ys[-1]) / (values[0] - values[-1])
    assert scale > 0
    for y, value in zip(ys, values, strict=True):
        assert y - ys[-1] == pytest.approx(scale * (value - values[-1]), abs=1.5)


def by_character(reading, n):
    """Nats a character of each of the first n characters; None: no score."""
    found = []
    for length, nats in zip(reading.lengths, reading.nats, strict=True):
        found += [None if nats is None else round(100 * nats) / 100 / length] * length
    return found[:n]


def coloured(visit, i):
    """(text, class of each of its characters) of document i, as the browser has it."""
    pieces = visit.page.evaluate(
        "i => [...document.querySelectorAll('.text')[i].children]"
        ".map(e => [e.textContent, e.className])",
        i,
    )
    text = "".join(piece for piece, _ in pieces)
    return text, [name.split()[0] for piece, name in pieces for _ in piece]


def step(value, limits):
    return sum(value >= limit for limit in limits)


def test_colours(browser, path, found):
    """Every character's colour, of either run and of their difference, against their readings."""
    shown, _ = token_views.gather(found, 4000)
    visit = browsers.Visit(browser, path)
    for i, text in enumerate(shown):
        visit.page.evaluate("i => document.querySelectorAll('.doc')[i].open = true", i)
        visit.page.wait_for_function(
            "i => document.querySelectorAll('.text')[i].children.length > 0", arg=i
        )
        rates = [by_character(reading, len(text.shown)) for reading in text.readings]
        for run, (one, other) in enumerate([rates, rates[::-1]]):
            visit.page.select_option("#shown", str(run))
            visit.page.select_option("#less", "")
            want = ["none" if x is None else f"q{step(x, view.LEVELS)}" for x in one]
            assert coloured(visit, i) == (text.shown, want)
            visit.page.select_option("#less", str(1 - run))
            want = [
                "none"
                if x is None or y is None
                else ("b" if x < y else "w") + str(step(abs(x - y), view.DIFFERENCES))
                for x, y in zip(one, other, strict=True)
            ]
            assert coloured(visit, i) == (text.shown, want)
    assert visit.complaints == []


def test_keys(browser, path, found):
    """Without a mouse: the theme, a text's tokens one by one, the next text."""
    visit = browsers.Visit(browser, path)
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#theme").focus()
    backgrounds = []
    for _ in range(3):
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.keyboard.press("Enter")
    assert backgrounds[0] == backgrounds[1] != backgrounds[2]  # system is light here, light, dark
    assert page.locator("#theme").inner_text() == "Theme: system"
    reading = token_views.gather(found, 4000)[0][0].readings[0]
    page.locator(".text").first.focus()
    for n in range(1, 4):
        page.keyboard.press("ArrowRight")
        words = page.locator(".readout").first.inner_text()
        assert f"{round(100 * reading.nats[n - 1]) / 100:.2f} nats" in words
    page.keyboard.press("End")
    assert page.locator(".text").first.locator("span").last.get_attribute("class").endswith(" at")
    page.keyboard.press("Home")
    assert page.locator(".text").first.locator("span").first.get_attribute("class").endswith(" at")


def test_the_policy_lets_nothing_in(browser, path, tmp_path):
    """A script and an image that came in by a hole are stopped by the page's own policy."""
    holed = tmp_path / "holed.html"
    planted = '<script>document.title = "run"</script><img src="https://example.com/x.png">'
    text = path.read_text(encoding="utf-8")
    holed.write_text(text.replace("</main>", planted + "</main>"), encoding="utf-8")
    visit = browsers.Visit(browser, holed)
    assert visit.page.title() != "run"
    assert len(visit.complaints) == 2
    assert all("Content Security Policy" in words for words in visit.complaints)


def test_on_paper(browser, path):
    """Printed on A4, light whatever the screen is: nothing is wider than the paper, or cut."""
    visit = browsers.Visit(browser, path, scheme="dark")
    visit.page.evaluate("document.querySelectorAll('details').forEach(e => (e.open = true))")
    visit.page.emulate_media(media="print")
    visit.page.set_viewport_size({"width": 688, "height": 1000})  # 210 mm less margins
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 688
    heights = visit.page.evaluate(
        "[...document.querySelectorAll('.text')].map(e => [e.scrollHeight, e.clientHeight])"
    )
    assert all(0 < scroll <= client for scroll, client in heights)
    ink = visit.page.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(27, 28, 30)"


def test_without_script(browser, path):
    """The numbers and the texts are there where no script runs."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#ranking").is_visible()
    assert page.locator("#theme").is_hidden()
    assert page.get_by_text("The colours need JavaScript").is_visible()
    levels = json.loads(page.locator("#levels").text_content())
    assert levels["levels"] == list(view.LEVELS)
    assert page.locator(".text").first.text_content().strip()
