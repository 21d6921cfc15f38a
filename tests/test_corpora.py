"""Files of rows → documents: the reference's rules, literally."""

import datetime
import json

import pytest
from etils import epath

from jaxbpc.data import corpora
from jaxbpc.errors import InputError

ROWS = [
    {"content": " a\n", "subset": "web", "date": "2024-02-29T10:00:00"},
    {"content": ""},
    {"content": "Grüße \u2028 \U0001d465", "meta": "m"},
    {"content": " a\n", "date": "soon"},
]


@pytest.fixture(params=["lines", "array", "ascii", "windows"])
def path(request, tmp_path):
    ascii_only = request.param == "ascii"
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in ROWS]
    end = "\r\n" if request.param == "windows" else "\n"
    text = end.join(lines) + end
    if request.param == "array":
        text = f"[{', '.join(lines)}]"
    if request.param == "windows":
        text = "\ufeff" + text
    file = tmp_path / ("text.json" if request.param == "array" else "text.jsonl")
    file.write_bytes(text.encode())
    return file


def test_rows(path):
    documents = list(corpora.documents(path))
    assert [d.text for d in documents] == [row["content"] for row in ROWS]
    assert [d.row for d in documents] == [0, 1, 2, 3]
    assert documents[2].n_bytes == len(ROWS[2]["content"].encode()) == 16
    assert documents[0].subset == "web"
    assert documents[0].date == datetime.date(2024, 2, 29).toordinal()
    assert documents[3].date == -1


def test_samples_are_taken_before_empty_rows_are_dropped(path):
    assert [d.text for d in corpora.documents(path, 2)] == [" a\n", ""]


def test_template_is_filled_once(tmp_path):
    row = {"content": 'f"{meta} {content} {0} {{"', "meta": "{content}", "year": 2024}
    (tmp_path / "text.jsonl").write_text(json.dumps(row) + "\n")

    def text(template):
        (document,) = corpora.documents(tmp_path / "text.jsonl", template=template)
        return document.text

    assert text("{content}") == row["content"]
    assert text("{meta}|{content}") == "{content}|" + row["content"]
    assert text("{{x}} {year}: {content}\n") == "{x} 2024: " + row["content"] + "\n"


def test_a_row_without_content_is_dropped_whatever_the_template_adds(path):
    texts = [d.text for d in corpora.documents(path, template="Text: {content}")]
    assert texts[1] == ""
    assert texts[0] == "Text:  a\n"


@pytest.mark.parametrize(
    "template", ["", "no field", "{", "{content!r}", "{content:>9}", "{0}", "{}", "{a.b}"]
)
def test_bad_template(template):
    with pytest.raises(InputError, match=r"config\.data\.template"):
        corpora.Template(template)


def test_find(tmp_path):
    with pytest.raises(InputError, match=r"python\.jsonl does not exist.*prepare paper"):
        corpora.find(tmp_path, "python")
    (tmp_path / "python.json").write_text("[]")
    assert corpora.find(tmp_path, "python") == tmp_path / "python.json"
    (tmp_path / "python.jsonl").write_text("")
    with pytest.raises(InputError, match="both exist"):
        corpora.find(tmp_path, "python")


@pytest.mark.long
def test_in_a_bucket(bucket, tmp_path):
    folder = epath.Path(f"{bucket}/data")
    (folder / "text.jsonl").write_text(json.dumps({"content": "one"}))
    found = corpora.find(f"{bucket}/data", "text")
    assert [d.text for d in corpora.documents(found)] == ["one"]
    assert corpora.find(f"{bucket}/data", "text") == found
    (folder / "text.jsonl").write_text(json.dumps({"content": "another"}))
    found = corpora.find(f"{bucket}/data", "text")
    assert [d.text for d in corpora.documents(found)] == ["another"]
    with pytest.raises(InputError, match=r"gs://bucket/data/absent.jsonl does not exist"):
        corpora.find(f"{bucket}/data", "absent")
