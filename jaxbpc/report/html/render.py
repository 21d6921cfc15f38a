"""The page: one HTML file with everything inside, that asks no network for anything.

The idea: a template (`page.html`) with the style sheet and the script inside, by their hashes the
only ones that the page's own security policy lets run.

The complications: the texts are most of its size, so they are cut until the page is small enough.
"""

import base64
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup

from jaxbpc.analysis.compare import Comparison
from jaxbpc.report.html import figures, token_views, view
from jaxbpc.report.html.training_chart import Course
from jaxbpc.report.tables import Table

MAX_BYTES = 3_000_000
_CUTS = (4000, 2000, 1000, 400, 0)  # characters of each text that are shown


def html(
    found: Comparison, trained: Course | None = None, around: list[Table] | None = None
) -> str:
    """The page of a comparison, below `MAX_BYTES` whatever its texts are.

    Args:
      found: the runs, none where a series has none yet.
      trained: the course of series.
      around: the tables of a cutoff.
    """
    drawn = figures.gather(found)
    for most in _CUTS:
        shown, notes = token_views.gather(found, most)
        made = _fill(view.view(found, drawn, shown, notes, trained, around))
        if len(made.encode()) < MAX_BYTES:
            break
    return made


def _fill(variables: dict) -> str:
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_harmless,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (Markup(_file(name)) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = environment.from_string(_file("page.html"))
    return template.render(**variables, style=style, script=script, policy=policy)


def _harmless(value):
    """Names and notes come from others as the texts do."""
    is_words = isinstance(value, str) and not isinstance(value, Markup)
    return token_views.visible(value) if is_words else value


def _file(name: str) -> str:
    return (resources.files("jaxbpc.report.html") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
