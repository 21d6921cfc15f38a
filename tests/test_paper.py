"""The paper's corpora: from a folder of the hub's layout, and from a hub on this machine."""

import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.prepare import paper

TEXTS = ["Grüße \u2028 𝑥", "", 'f"{meta}"\n']


def make_dataset(folder, texts, told=None):
    """A folder as the hub keeps datasets: a card that names a file for each config."""
    folder.mkdir()
    card = ["---"]
    if told is not None:
        card += ["dataset_info:"]
        for config in corpora.PAPER_CORPORA.values():
            card += [f"- config_name: {config}", "  splits:", "  - name: test"]
            card += [f"    num_examples: {told}", "    num_bytes: 1"]
    card += ["configs:"]
    for config in corpora.PAPER_CORPORA.values():
        card += [f"- config_name: {config}", "  data_files:", "  - split: test"]
        card += [f"    path: {config}.jsonl"]
        rows = [{"content": t, "subset": config, "meta": {"n": i}} for i, t in enumerate(texts)]
        (folder / f"{config}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return make_dataset(tmp_path / "hub", TEXTS)


def command(out, *flags, **environment):
    """The command as a process."""
    line = [sys.executable, "-m", "jaxbpc.prepare", "paper", f"--out={out}", *flags]
    environment = os.environ | {k: str(v) for k, v in environment.items()}
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)


def test_paper(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    paper.paper(out, str(dataset))
    files = [f"{n}{end}" for n in corpora.PAPER_CORPORA for end in (".jsonl", ".manifest.json")]
    assert {p.name for p in out.iterdir()} == set(files)
    documents = list(corpora.documents(corpora.find(out, "commoncraw")))
    assert [d.text for d in documents] == TEXTS
    assert documents[0].subset == "cc"
    manifest = json.loads((out / "python.manifest.json").read_text())
    assert manifest["characters"] == sum(map(len, TEXTS))
    assert manifest["sha256"] == hashlib.sha256((out / "python.jsonl").read_bytes()).hexdigest()
    assert (manifest["documents"], manifest["config"], manifest["revision"]) == (3, "python", None)
    assert "characters, the paper has 98 million" in capsys.readouterr().err


def test_rows_that_the_card_does_not_tell(tmp_path, capsys):
    paper.paper(tmp_path / "out", str(make_dataset(tmp_path / "hub", TEXTS, told=4)))
    assert "3 rows, its card says 4 and 1" in capsys.readouterr().err


def test_a_corpus_that_is_there_is_kept(dataset, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "python.json").write_text("mine")
    paper.paper(out, str(dataset))
    assert (out / "python.json").read_text() == "mine"
    assert not (out / "python.jsonl").exists()


def test_a_source_without_text(dataset, tmp_path):
    (dataset / "cc.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match=r"no column `content` but text.*prepare paper"):
        paper.paper(tmp_path / "out", str(dataset))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network(tmp_path, offline):
    """The one line names the command."""
    out = tmp_path / "out"
    settings = {"HF_ENDPOINT": "http://localhost:9", "HF_HOME": tmp_path / "home"}
    done = command(out, HF_HUB_OFFLINE=offline, **settings)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: hkust-nlp/llm-compression: cannot be downloaded (")
    assert f"`python -m jaxbpc.prepare paper --out {out}`" in last
    assert "CC BY-NC-SA" in done.stderr


@pytest.mark.long
def test_killed_and_started_again(tmp_path):
    dataset = make_dataset(tmp_path / "hub", [str(i) * 300 for i in range(8_000)])
    out = tmp_path / "out"
    line = [sys.executable, "-m", "jaxbpc.prepare", "paper", f"--out={out}", f"--source={dataset}"]
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
    part = out / ".python.jsonl.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "python.jsonl").exists()
    before = (out / "commoncraw.jsonl").stat()
    assert subprocess.run(line, env=environment, check=False).returncode == 0
    assert (out / "commoncraw.jsonl").stat().st_ino == before.st_ino
    assert not part.exists()
    for name in corpora.PAPER_CORPORA:
        documents = list(corpora.documents(out / f"{name}.jsonl"))
        assert [d.text for d in documents] == [str(i) * 300 for i in range(8_000)]


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's two calls that a download makes; cuts `python.jsonl` short where told to."""

    folder, cut, gets = None, False, []
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        """Says nothing."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        path = self.path.split("?")[0]
        name = "hkust-nlp/llm-compression"
        if re.fullmatch(rf"/api/datasets/{name}(/revision/\w+)?", path):
            files = [{"rfilename": p.name} for p in sorted(self.folder.iterdir())]
            self._send(
                json.dumps({"id": name, "sha": COMMIT, "siblings": files}).encode(), {}, body
            )
        elif m := re.fullmatch(rf"/api/datasets/{name}/tree/\w+", path):
            files = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name}
                for p in sorted(self.folder.iterdir())
            ]
            self._send(json.dumps(files).encode(), {}, body)
        elif m := re.fullmatch(rf"/datasets/{name}/resolve/\w+/([\w.]+)", path):
            data = (self.folder / m[1]).read_bytes()
            tag = hashlib.sha256(data).hexdigest()
            self._send(data, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, body, m[1])
        else:
            self.send_error(404)

    def _send(self, data, headers, body, name=None):
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(re.match(r"bytes=(\d+)-", wanted)[1])
        self.send_response(206 if wanted else 200)
        headers = headers | {"Content-Length": len(data) - start, "Accept-Ranges": "bytes"}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if not body:
            return
        self.gets.append((name, start))
        end = len(data)
        if name == "python.jsonl" and self.cut:
            end = max(start, len(data) // 2)
            self.close_connection = True
        self.wfile.write(data[start:end])


@pytest.mark.long
def test_a_mirror_and_an_interrupted_download(tmp_path):
    """HF_ENDPOINT is where it comes from; a cut connection goes on, what came whole is kept."""
    hub = make_dataset(tmp_path / "hub", TEXTS)
    million = json.dumps({"content": "x" * 1_000_000}) + "\n"
    (hub / "arxiv_math.jsonl").write_text(million * 101)
    (hub / "python.jsonl").write_text(million * 50)  # it is kept in parts of 10 MB
    half = (hub / "python.jsonl").stat().st_size // 2
    Hub.folder, Hub.cut = hub, True
    server = http.server.ThreadingHTTPServer(("localhost", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {"HF_ENDPOINT": f"http://localhost:{server.server_port}"}
    settings |= {"HF_HOME": tmp_path / "home", "HF_HUB_DISABLE_XET": "1"}
    out = tmp_path / "out"
    try:
        done = command(out, **settings)
        assert done.returncode == 2
        assert "error: hkust-nlp/llm-compression: cannot be downloaded" in done.stderr
        assert not out.exists()
        starts = [start for name, start in Hub.gets if name == "python.jsonl"]
        assert starts[0] == 0
        assert all(0 < start <= half for start in starts[1:])
        assert ("arxiv_math.jsonl", 0) in Hub.gets
        Hub.cut = False
        Hub.gets.clear()
        done = command(out, **settings)
    finally:
        server.shutdown()
        server.server_close()
    assert {name for name, _ in Hub.gets if name} == {"python.jsonl"}
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    told = f"commoncraw: {sum(map(len, TEXTS))} characters, the paper has 131 million"
    assert last.startswith(f"error: hkust-nlp/llm-compression, {told}")
    assert not list(out.iterdir())
    for name in ("commoncraw", "python"):
        (out / f"{name}.jsonl").write_text("")
    done = command(out, HF_HUB_OFFLINE=1, **settings)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "arxiv_math.manifest.json").read_text())
    assert manifest["revision"] == COMMIT
    assert manifest["licence"] == "CC BY-NC-SA 4.0"
    assert manifest["characters"] == 101_000_000
