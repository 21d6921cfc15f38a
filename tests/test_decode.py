"""Bytes → text: encodings that nothing declares, in files of text and of rows."""

import csv
import io
import json

import pytest

from jaxbpc.prepare import files
from jaxbpc.prepare.readers import decode, inputs, pieces

# Sentences of languages, each with most of its letters beyond ASCII.
FRENCH = "Le garçon était à Noël chez sa mère, où il a reçu une très belle fête. "
SPANISH = "El niño comió una manzana mañana. ¿Dónde está el baño, señor? "
POLISH = "Zażółć gęślą jaźń, proszę państwa, dziś jest piękny dzień. "
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, dnes je krásný den. "
RUSSIAN = "Привет, как дела? Это русский текст о погоде. "
TEXTS = [
    ("cp1252", FRENCH),
    ("cp1252", SPANISH),
    ("cp1252", "Die Grüße aus München sind schön, die Straße ist heiß. "),
    ("cp1252", "Não há coração que não se comova com a canção, irmão. "),
    ("cp1252", "Perché la città è così bella? Più tardi andrò lì. "),
    ("cp1252", "På ön där åker många på söndag; växer träd. "),
    ("cp1252", "Rødgrød med fløde, hvor små børn æder blåbær i går. "),
    ("cp1252", "Það er gott veður í dag og sólin skín á fjöllin úti. "),
    ("cp1252", "“Quotes” and don’t — 10 €, 3 m³. "),
    ("cp1252", "à Noël"),
    ("cp1252", "niño"),
    ("cp1250", POLISH),
    ("cp1250", CZECH),
    ("cp1250", "Árvíztűrő tükörfúrógép, ma szép idő van a fák között. "),
    ("iso8859-2", POLISH),
    ("iso8859-2", CZECH),
    ("cp1254", "Güneşli bir gün, çocuklar bahçede oynuyor, ağaçlar yeşil ve ışık güzel. "),
    ("cp1257", "Šiandien gražus oras, žmonės vaikščioja, ąžuolai žaliuoja į šiaurę. "),
    ("cp1251", RUSSIAN),
    ("cp1253", "Καλημέρα, τι κάνετε; Αυτό είναι ένα ελληνικό κείμενο. "),
    ("shift_jis", "これは日本語の文章です。天気がいいですね。"),
]


@pytest.mark.parametrize("times", [1, 30])
@pytest.mark.parametrize(("encoding", "text"), TEXTS)
def test_languages(encoding, text, times):
    found, guessed = decode.text((text * times).encode(encoding))
    assert found == text * times
    assert guessed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ASCII",
        (FRENCH + RUSSIAN).encode(),
        ("\ufeff" + FRENCH).encode("utf-16-le"),
        ("\ufeff" + FRENCH).encode("utf-32-be"),
        b"a\0b",
        b"\0",
        b"one\0two\0three\0" * 50,
    ],
)
def test_what_is_no_guess(data):
    text, guessed = decode.text(data)
    assert guessed is None
    marks = {b"\xff\xfe": "utf-16", b"\0\0": "utf-32"}
    name = marks.get(data[:2], "utf-8") if len(data) > 4 else "utf-8"
    assert text == data.decode(name)


def test_what_a_file_declares_is_no_guess():
    source = f"# coding: cp1250\nname = {FRENCH!r}\n".encode("cp1252")
    assert decode.python(source) == (source.decode("cp1250"), None)
    page = "<html><head>%s<title>Été</title></head><body><p>Où à Noël, très tôt.</p></body></html>"
    for declaration, guessed in (("<meta charset='latin-1'>", None), ("", "cp1252")):
        found = decode.html((page % declaration).encode("latin-1"))
        assert found == ("Où à Noël, très tôt.", "Été", guessed)


def written(rows, suffix, encoding):
    """Texts as the bytes of a file of rows."""
    if suffix == ".csv":
        out = io.StringIO(newline="")
        csv.writer(out).writerows([["text"], *([row] for row in rows)])
        return out.getvalue().encode(encoding)
    lines = [json.dumps({"text": row}, ensure_ascii=False) for row in rows]
    whole = "\n".join(lines) if suffix == ".jsonl" else f"[{', '.join(lines)}]"
    return whole.encode(encoding)


def read(path, out):
    """The texts that `prepare files` makes of a file, and its manifest."""
    manifest = files.files([str(path)], out, "mine", files.Options(exact=False), workers=1)
    with open(out / "mine.jsonl", encoding="utf-8", newline="\n") as file:
        return [json.loads(line)["content"] for line in file], manifest


ROWS = ["ASCII only", "à Noël", "où", "très tôt", "fête", "plain", "çà et là", "été, 10 €"] * 30
POLISH_ROWS = ["Łódź", "ASCII", "Kraków", "gęślą", "jaźń", "był", "Zażółć"] * 30


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize(
    ("rows", "encoding", "guessed"),
    [
        (ROWS, "cp1252", "cp1252"),
        (POLISH_ROWS, "cp1250", "cp1250"),
        ([*ROWS, RUSSIAN], "utf-8", None),
        ([*ROWS, RUSSIAN], "utf-16", None),
        ([*ROWS, RUSSIAN], "utf-16-le", "utf-16-le"),
        ([*ROWS, RUSSIAN], "utf-16-be", "utf-16-be"),
        (["ASCII", "more"], "utf-16-le", "utf-16-le"),
    ],
)
def test_rows_are_guessed_once_for_a_file(tmp_path, suffix, rows, encoding, guessed):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(written(rows, suffix, encoding))
    found, manifest = read(path, tmp_path / "out")
    assert found == rows
    # Of lines, those are told apart that are UTF-8 as they stand.
    by_line = suffix == ".jsonl" and not encoding.startswith("utf")
    n = sum(not row.isascii() for row in rows) if by_line else len(rows)
    assert manifest["guessed_encodings"] == ({guessed: n} if guessed else {})
    told = [line.split() for line in files.summary(manifest).splitlines() if "guessed" in line]
    assert told == ([["guessed", "to", "be", "in", guessed, str(n)]] if guessed else [])


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_what_is_not_ascii_may_come_late(tmp_path, suffix):
    rows = ["plain " * 100] * 2500 + ROWS
    path = tmp_path / f"a{suffix}"
    path.write_bytes(written(rows, suffix, "cp1252"))
    found, manifest = read(path, tmp_path / "out")
    assert found == rows
    assert set(manifest["guessed_encodings"]) == {"cp1252"}


def test_lines_of_two_encodings(tmp_path):
    """What is UTF-8 stays so."""
    path = tmp_path / "a.jsonl"
    both = [written([row], ".jsonl", e) for row in ROWS for e in ("utf-8", "cp1252")]
    path.write_bytes(b"\n".join(both))
    found, manifest = read(path, tmp_path / "out")
    assert found == [row for row in ROWS for _ in range(2)]
    assert manifest["guessed_encodings"] == {"cp1252": sum(not row.isascii() for row in ROWS)}


def test_blocks_of_any_size_of_wide_lines(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(written(ROWS, ".jsonl", "utf-16-le"))
    monkeypatch.setattr(pieces, "SIZE", 101)
    assert read(path, tmp_path / "out")[0] == ROWS


def test_files_are_counted_by_their_encodings(tmp_path):
    for i, text in enumerate((FRENCH, SPANISH, POLISH, RUSSIAN, "ASCII")):
        encoding = ("cp1252", "cp1252", "cp1250", "utf-8", "utf-16-be")[i]
        (tmp_path / f"{i}.txt").write_bytes(text.encode(encoding))
    _, manifest = read(tmp_path, tmp_path / "out")
    assert manifest["guessed_encodings"] == {"cp1250": 1, "cp1252": 2, "utf-16-be": 1}


def test_text_of_no_encoding_is_told(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(bytes(range(128, 256)) * 3)
    with pytest.raises(files.InputError, match=r"a\.json"):
        list(pieces.pieces(inputs.find([str(path)])))
