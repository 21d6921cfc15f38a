"""LaTeX: the main file, inputs in place, Markdown with its formulas."""

import itertools

import pytest

from jaxbpc.prepare.readers import latex

HEAD = "\\documentclass[a4paper]{amsart}\n"


def paper(body, head=HEAD):
    return f"{head}\\begin{{document}}\n{body}\n\\end{{document}}\n".encode()


def test_main_file():
    assert latex.main_file({"x.tex": paper("a"), "y.tex": b"\\section{b}"}) == "x.tex"
    # A class in a comment makes no document; nor does a part that can be set alone.
    files = {"a.tex": b"%\\documentclass{article}\n\\begin{document}", "z.tex": paper("z")}
    files["s.tex"] = paper("long " * 99, "\\documentclass[z]{subfiles}\n")
    assert latex.main_file(files) == "z.tex"
    two = {"cover.tex": paper("long " * 99), "my_main.tex": paper("x"), "d/paper.tex": paper("x")}
    assert latex.main_file(two) == "my_main.tex"
    assert latex.main_file({"a.tex": paper("x"), "b.tex": paper("longer")}) == "b.tex"
    told = {"00README.XXX": b"cover.tex toplevelfile\nb.tex ignore\n"}
    assert latex.main_file(two | told) == "cover.tex"
    json = b'{"sources": [{"filename": "d/paper.tex", "usage": "toplevel"}]}'
    assert latex.main_file(two | {"00README.json": json}) == "d/paper.tex"
    for broken in (b"[", b"[]", b'{"sources": 1}', b'{"sources": [{"usage": "toplevel"}]}'):
        assert latex.main_file(two | {"00README.json": broken}) == "my_main.tex"
    with pytest.raises(latex.NotConverted, match="no_latex"):
        latex.main_file({"a.tex": b"\\magnification=1200 plain \\bye", "b.txt": paper("x")})


def test_inputs_in_place():
    files = {
        "d/main.tex": b"A \\input{one} B\n% \\input{no}\n\\input sub/two\n\\include{three.tex}.",
        "d/one.tex": b"1 % gone",
        "d/sub/two.tex": b"2\\input{three}",
        "d/three.tex": b"3 \\\\% gone \\input{no}\n",
        "d/no.tex": b"NO",
    }
    assert latex.assemble(files, "d/main.tex") == "A 1 %\n B\n%\n23 \\\\%\n\n\n\n3 \\\\%\n\n.\n"


def test_nothing_from_outside(tmp_path):
    secret = tmp_path / "secret.tex"
    secret.write_text("SECRET")
    up = "../" * 40
    wanted = [f"{secret}", f"{up}{secret}", "../outside", "/etc/passwd", "", " ", "\\x"]
    body = " ".join(f"[\\input{{{name}}}\\include {name} ]" for name in wanted)
    text = latex.assemble({"main.tex": paper(body), "other.tex": b"OTHER"}, "main.tex")
    assert "SECRET" not in text
    assert "OTHER" not in text


def test_percent_signs():
    text = b"\\url{http://a/%20b} 50\\% \\verb|%| \\href{c%d}{e} x %%%\n"
    text += b"\\begin{verbatim}\n% kept \\input{no}\n\\end{verbatim}\n\\verb+\\input{no}+ \\\\%gone"
    found = latex.assemble({"m.tex": text, "no.tex": b"NO"}, "m.tex")
    assert found == (
        "\\url{http://a/%20b} 50\\% \\verb|%| \\href{c%d}{e} x %\n"
        "\\begin{verbatim}\n% kept \\input{no}\n\\end{verbatim}\n\\verb+\\input{no}+ \\\\%\n"
    )


def test_bibliography_goes():
    body = (
        "x\\bibliographystyle{plain}\\bibliography{a,b}\\printbibliography[title={T}]\\input{m.bbl}"
    )
    bbl = b"\\begin{thebibliography}{9}\\bibitem{a} Gone\\end{thebibliography}"
    text = latex.assemble({"m.tex": paper(body), "m.bbl": bbl}, "m.tex")
    assert "Gone" not in text
    assert "bibliography" not in text
    unended = latex.assemble({"m.tex": paper("x\\begin{thebibliography}{9} Gone")}, "m.tex")
    assert unended.endswith("x\\end{document}\n\n")


def test_encodings():
    assert latex.decode("Gödel".encode()) == "Gödel"
    assert latex.decode(b"\xef\xbb\xbfx") == "x"
    assert latex.decode(b"G\xf6del") == "Gödel"
    cyrillic = "\\usepackage[cp1251]{inputenc} Чебышёв"
    assert latex.decode(cyrillic.encode("cp1251")) == cyrillic


def test_bounds():
    """Cycles end; what grows beyond bounds is left out."""
    files = {"m.tex": b"a\\input{n}b", "n.tex": b"c\\input{m}d"}
    assert latex.assemble(files, "m.tex") == "acd\nb\n"
    bomb = {f"f{i}.tex": f"\\input{{f{i + 1}}}".encode() * 9 for i in range(9)}
    with pytest.raises(latex.NotConverted, match="too_large"):
        latex.assemble(bomb, "f0.tex")
    chain = {f"f{i}.tex": f"\\input{{f{i + 1}}}".encode() for i in range(90)}
    with pytest.raises(latex.NotConverted, match="too_large"):
        latex.assemble(chain, "f0.tex")
    # What would take hours if each was looked for to the file's end.
    for piece in (
        b"\\begin{verbatim}",
        b"\\verb|",
        b"\\input{ ",
        b"\\printbibliography[",
        b"\\url{",
    ):
        latex.assemble({"m.tex": piece * 30_000}, "m.tex")


def test_markdown():
    pytest.importorskip("pypandoc")
    body = r"""\maketitle
\begin{abstract}On $\R^n$.\end{abstract}
\section{Norms} Let $x \in \R$ and \emph{so} on:
\begin{equation} \norm{x} = \sqrt{\sum_i x_i^2} \end{equation}
\begin{theorem} G\"odel's $0 \neq 1$. \end{theorem}
\begin{align*} a &< b \\ c &> d \end{align*}
\begin{figure}\includegraphics{a}\includegraphics{b}\caption{With $\Sigma_c^+$.}\end{figure}"""
    head = HEAD + r"\newcommand{\R}{\mathbb{R}} \newcommand{\norm}[1]{\left\| #1 \right\|}"
    head += r"\newtheorem{theorem}{Theorem} \title{A title of $L^2$\thanks{X.}} \secret{gone}"
    text, title = latex.to_markdown(paper(body, head).decode())
    assert title == "A title of $L^2$"
    assert r"On $\mathbb{R}^n$." in text
    assert "# Norms" in text
    assert r"Let $x \in \mathbb{R}$ and *so* on:" in text
    assert r"\left\| x \right\| = \sqrt{\sum_i x_i^2}" in text
    assert "Gödel's $0 \\neq 1$." in text
    assert "a &< b \\\\ c &> d" in text
    assert r"With $\Sigma_c^+$." in text
    for gone in (":::", "<em", "<fig", "newcommand", "documentclass", "gone"):
        assert gone not in text
    with pytest.raises(latex.NotConverted, match="cannot_read"):
        latex.to_markdown("\\documentclass{a}\\begin{document}\\newcommand{\\x}{\\x\\x}\\x")


def test_pandoc_reads_no_file(tmp_path):
    pytest.importorskip("pypandoc")
    secret = tmp_path / "secret.tex"
    secret.write_text("SECRET")
    body = f"a \\input{{{secret}}} \\lstinputlisting{{{secret}}} \\includegraphics{{{secret}}}"
    text, title = latex.to_markdown(paper(body + f"\\usepackage{{{secret}}}").decode())
    assert text.startswith("a")
    assert "SECRET" not in text
    assert title is None


@pytest.mark.long
def test_macros_that_explode(monkeypatch):
    pytest.importorskip("pypandoc")
    monkeypatch.setattr(latex, "_TIMEOUT_S", 3)
    names = "abcdefghijk"
    head = "".join(
        f"\\newcommand{{\\m{a}}}{{" + f"\\m{b}" * 20 + "}" for a, b in itertools.pairwise(names)
    )
    with pytest.raises(latex.NotConverted, match=r"too_slow|cannot_read"):
        latex.to_markdown(paper("\\ma", HEAD + head + "\\newcommand{\\mk}{x}").decode())
