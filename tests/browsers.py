"""A page in headless Chromium: what it asks for, says and shows, and what axe has against it."""

import contextlib
import shutil

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SIZES = {"desk": (1280, 900), "phone": (375, 800)}


@contextlib.contextmanager
def chromium():
    """A browser; the test is skipped where there is none."""
    where = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if where is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    reason = "pip install '.[dev]'"
    pytest.importorskip("axe_playwright_python", reason=reason)
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page opened at a size, in light or dark, with all that it asked for and complained of."""

    def __init__(self, browser, path, size="desk", scheme="light"):
        width, height = _SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        self.page = context.new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.address = path.as_uri()
        self.page.goto(self.address)

    def violations(self):
        """What axe finds serious or critical: {rule: [the elements]}."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return {
            rule["id"]: [node["html"][:200] for node in rule["nodes"]][:5]
            for rule in found
            if rule["impact"] in ("serious", "critical")
        }


def check(browser, path):
    """At both sizes, light and dark: quiet, alone, inside its width, and axe agrees."""
    for size in _SIZES:
        for scheme in ("light", "dark"):
            visit = Visit(browser, path, size, scheme)
            for summary in visit.page.locator("details:not([open]) > summary").element_handles():
                summary.click()
            wide = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, (size, wide)
            assert not (found := visit.violations()), (size, scheme, found)
            if visit.page.locator("#less").count():
                visit.page.select_option("#less", index=2)
                assert not (found := visit.violations()), (size, scheme, "compared", found)
            assert visit.complaints == []
            assert visit.requests == [visit.address]
            visit.page.context.close()
