"""LaTeX sources → Markdown with the mathematics kept as LaTeX.

The files of a paper are a dict, name → bytes; nothing is read from anywhere else. The main file is
found, what it inputs is put in its place, and pandoc does the rest as in the paper's
collection: macros are expanded, comments and the preamble dropped, and lines that only
open or close a div (`:::`) removed. pandoc runs in its sandbox, which reads no files, with a bound
on memory and time. Other than there, bibliographies go and no HTML is made, in which pandoc would
put captions with their formulas taken apart.
Source: `code/data_collection/arxiv` of hkust-nlp/llm-compression-intelligence.
"""

import json
import posixpath
import re
import shutil
import subprocess
from collections.abc import Iterator

import yaml

from jaxbpc.errors import InputError

MAX_CHARACTERS = 8_000_000  # of a paper's TeX once its parts are in place
_MAX_INPUTS = 1000
_MAX_DEPTH = 50
_TIMEOUT_S = 60  # papers take a second, books up to a minute
_MEMORY = "1g"
_INPUTENC = {"latin1": "latin-1", "latin9": "iso8859-15", "ansinew": "cp1252", "cp1252": "cp1252"}
_INPUTENC |= {"applemac": "mac-roman", "cp1251": "cp1251", "koi8-r": "koi8-r", "latin2": "latin2"}
_CLASS = re.compile(r"^[^%\n]*\\document(?:class|style)\b", re.MULTILINE)
_BEGIN, _END = "\\begin{document}", "\\end{document}"
# What is looked at in TeX: a URL (its % is no comment), verbatim, an escaped character, a comment,
# an input. No pattern looks further than it must: a file may be made to be slow to search.
_PIECE = re.compile(
    r"\\(?:url|path|href)\s*\{[^{}\n]*\}"
    r"|\\begin\{(?P<verbatim>verbatim\*?|lstlisting|minted)\}"
    r"|\\verb\*?(?P<bar>[^\sa-zA-Z*])[^\n]{0,200}?(?P=bar)"
    r"|(?P<comment>%[^\n]*)"
    r"|\\(?:input|include|subfile)(?:\s*\{(?P<braced>[^{}\n]{1,300})\}|\s+(?P<bare>[^\s{}\\%]+))"
    r"|\\[^a-zA-Z]",
)
_BIBLIOGRAPHY = re.compile(
    r"\\begin\{thebibliography\}.*?(?:\\end\{thebibliography\}|(?=\\end\{document\})|\Z)"
    r"|\\(?:bibliography|bibliographystyle)\s*\{[^{}]*\}|\\printbibliography(?:\[[^\]]{0,500}\])?",
    re.DOTALL,
)
_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)


class NotConverted(Exception):  # noqa: N818 (no fault of the user's: the paper is left out)
    """A paper that gives no text; the message is the reason, in few words."""


def decode(data: bytes) -> str:
    """A TeX file as text: UTF-8, else what its inputenc says, else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        declared = re.search(rb"\\usepackage\s*\[([\w-]+)\]\s*\{inputenc\}", data)
        name = _INPUTENC.get(declared[1].decode().lower(), "latin-1") if declared else "latin-1"
        return data.decode(name, errors="replace")


def main_file(files: dict[str, bytes]) -> str:
    """The name of the file that is the paper.

    The one that arXiv's 00README names; else of those with a document class and a body one called
    main, ms, paper or article, the uppermost, the longest. Raises NotConverted.
    """
    named = [name for name in _named(files) if name in files]
    if named:
        return named[0]
    found = []
    for name, data in files.items():
        text = decode(data) if name.lower().endswith((".tex", ".ltx", ".latex")) else ""
        if _CLASS.search(text) and _BEGIN in text and "{subfiles}" not in text[:2000]:
            stem = posixpath.splitext(posixpath.basename(name))[0].lower()
            called = not re.search(r"main|^ms$|paper|article", stem)
            found.append((name.count("/"), called, -len(data), name))
    if not found:
        raise NotConverted("no_latex")
    return min(found)[-1]


def _named(files: dict[str, bytes]) -> list[str]:
    """Top-level files by arXiv's 00README.json or 00README.XXX."""
    try:
        listed = json.loads(files["00README.json"])
        return [s["filename"] for s in listed["sources"] if s.get("usage") == "toplevel"]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        lines = decode(files.get("00README.XXX", b"")).splitlines()
        pairs = [line.split() for line in lines]
        return [p[0] for p in pairs if len(p) == 2 and p[1] == "toplevelfile"]


def assemble(files: dict[str, bytes], main: str) -> str:
    """The TeX of `main` with all that it inputs in place; no comments, no bibliography.

    Inputs are looked for in `files` alone; one that is not there is dropped. Raises NotConverted
    where they grow beyond bounds.
    """
    folder = posixpath.dirname(main)
    left = {"inputs": _MAX_INPUTS, "characters": MAX_CHARACTERS}

    def expand(name: str, within: tuple[str, ...]) -> str:
        text = decode(files[name]).replace("\r\n", "\n").replace("\r", "\n") + "\n"
        left["inputs"] -= 1
        left["characters"] -= len(text)
        if min(left.values()) < 0 or len(within) > _MAX_DEPTH:
            raise NotConverted("too_large")
        if within and _BEGIN in text:
            text = text.partition(_BEGIN)[2].partition(_END)[0]
        pieces = []
        for kept, wanted in _inputs(text):
            pieces.append(kept)
            places = [posixpath.join(folder, wanted), wanted] if wanted else []
            names = [posixpath.normpath(p + ext) for p in places for ext in (".tex", "")]
            inner = next((n for n in names if n in files and n not in (name, *within)), None)
            if inner is not None:
                pieces.append(expand(inner, (*within, name)))
        return "".join(pieces)

    return _BIBLIOGRAPHY.sub("", expand(main, ()))


def _inputs(text: str) -> Iterator[tuple[str, str]]:
    """Cuts TeX into (what stands before an input, without comments; the input's name or '')."""
    start = position = 0
    while match := _PIECE.search(text, position):
        position = match.end()
        if match["verbatim"]:
            end = text.find(f"\\end{{{match['verbatim']}}}", position)
            position = len(text) if end < 0 else end
        elif match["comment"] is not None:
            # As in TeX the line's end goes with it: the bare % says so to whoever reads on.
            yield text[start : match.start() + 1], ""
            start = position
        elif wanted := match["braced"] or match["bare"]:
            yield text[start : match.start()], wanted.strip()
            start = position
    yield text[start:], ""


def to_markdown(tex: str) -> tuple[str, str | None]:
    """(Markdown, title where there is one) of a whole LaTeX document. Raises NotConverted."""
    command = [pandoc(), "--sandbox", "--from=latex", "--to=markdown-raw_html", "--standalone"]
    command += ["--wrap=none", "--quiet", "+RTS", f"-M{_MEMORY}", "-RTS"]
    try:
        done = subprocess.run(
            command, input=tex.encode("utf-8", "replace"), capture_output=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise NotConverted("pandoc_too_slow")
    if done.returncode:
        raise NotConverted("pandoc_cannot_read")
    text = done.stdout.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = [line for line in text.split("\n") if not line.strip().startswith(":::")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return text + "\n", _title(text)


def _title(text: str) -> str | None:
    """`title` of the YAML block that pandoc begins with."""
    front = _FRONT.match(text[:100_000])
    try:
        found = yaml.safe_load(front[1]) if front else {}
    except yaml.YAMLError:
        return None
    title = found.get("title") if isinstance(found, dict) else None
    if not isinstance(title, str):
        return None
    return " ".join(re.sub(r"\[\^\d+\]", "", title).split())  # without the marks of footnotes


def pandoc() -> str:
    """The path of pandoc: the extra `arxiv` brings it. Raises InputError where there is none."""
    try:
        import pypandoc

        return pypandoc.get_pandoc_path()
    except (ImportError, OSError):
        if found := shutil.which("pandoc"):
            return found
        raise InputError(
            "LaTeX is converted by pandoc, which is not there: pip install 'jaxbpc[arxiv]'"
        )


def pandoc_version() -> str:
    """What pandoc says that it is."""
    done = subprocess.run([pandoc(), "--version"], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace").partition("\n")[0].strip()
