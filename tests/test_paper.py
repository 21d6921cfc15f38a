"""The paper's corpora from a dataset folder of the hub's layout, without a network."""

import json
import subprocess
import sys

import pytest

from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.text import paper

TEXTS = ["Grüße \u2028 𝑥", "", 'f"{meta}"\n']


@pytest.fixture
def dataset(tmp_path):
    """A folder as the hub keeps datasets: a card that names a file for each config."""
    card = ["---", "configs:"]
    for config in corpora.PAPER_CORPORA.values():
        card += [f"- config_name: {config}", "  data_files:", "  - split: test"]
        card += [f"    path: {config}.jsonl"]
        rows = [{"content": t, "subset": config, "meta": {"n": i}} for i, t in enumerate(TEXTS)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "hub").mkdir(exist_ok=True)
        (tmp_path / "hub" / f"{config}.jsonl").write_text(lines)
    (tmp_path / "hub" / "README.md").write_text("\n".join([*card, "---", ""]))
    return tmp_path / "hub"


def test_paper(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    paper.paper(tmp_path / "out", str(dataset))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "arxiv_math.jsonl",
        "commoncraw.jsonl",
        "python.jsonl",
    ]
    documents = list(corpora.documents(corpora.find(tmp_path / "out", "commoncraw")))
    assert [d.text for d in documents] == TEXTS
    assert documents[0].subset == "cc"


def test_a_corpus_that_is_there_is_kept(dataset, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "python.json").write_text("mine")
    paper.paper(out, str(dataset))
    assert (out / "python.json").read_text() == "mine"
    assert not (out / "python.jsonl").exists()


def test_a_source_that_cannot_be_had(tmp_path):
    with pytest.raises(InputError, match=r"absent \(cc\): cannot be downloaded .*prepare paper"):
        paper.paper(tmp_path / "out", str(tmp_path / "absent"))
    assert not list((tmp_path / "out").iterdir())


def test_the_command(dataset, tmp_path):
    flags = ["paper", f"--out={tmp_path / 'out'}", f"--source={dataset}"]
    done = subprocess.run([sys.executable, "-m", "jaxbpc.prepare", *flags], check=False)
    assert done.returncode == 0
    assert len(list(corpora.documents(tmp_path / "out" / "arxiv_math.jsonl"))) == len(TEXTS)
