"""No secret in what is printed or written, no code of a model's folder run, no file elsewhere."""

import ast
import base64
import http.server
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import pytest
import tiny
import warm

import jaxbpc
from jaxbpc import config, errors
from jaxbpc.checkpoint import headers, load, locate
from jaxbpc.data import tokens
from jaxbpc.errors import InputError
from jaxbpc.parallel import sharding

TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"
PASSWORD = "correct-horse-battery"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET https://user:{PASSWORD}@host/x", "GET https://***@host/x"),
        (f"https://host/x?a=1&token={PASSWORD}&b=2", "https://host/x?a=1&token=***&b=2"),
        (f"?X-Amz-Signature={PASSWORD}", "?X-Amz-Signature=***"),
        (f"?X-Goog-Credential={PASSWORD}", "?X-Goog-Credential=***"),
        (f"{{'authorization': 'Bearer {PASSWORD}'}}", "{'authorization': 'Bearer ***'}"),
        (f"401 for {TOKEN}.", "401 for ***."),
        ("ya29.a0AfH6SMBx-abc_def", "***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        (f"{PASSWORD} of the environment", "*** of the environment"),
        ("data/hf_checkpoints/hf_pretraining_run", "data/hf_checkpoints/hf_pretraining_run"),
        ("a/path@v2 token=x gs://bucket/key", "a/path@v2 token=x gs://bucket/key"),
    ],
)
def test_redacted(monkeypatch, text, shown):
    monkeypatch.setenv("SOME_API_KEY", PASSWORD)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "a/path@v2")
    assert errors.redacted(text) == shown
    assert str(InputError(f"a {text}")) == f"a {shown}"


def test_a_message_is_one_printable_line():
    assert str(InputError("a\n\x1b[2J\u202e\r\tü \ud800")) == r"a \x1b[2J\u202e ü \ud800"
    long = str(InputError("x" * 10**6 + " the remedy"))
    assert len(long) < 4000
    assert long.endswith("the remedy")


@pytest.mark.parametrize("path", [f"s3://key:{PASSWORD}@bucket/model", f"owner/{TOKEN}"])
@pytest.mark.parametrize("field", ["model.path", "model.tokenizer", "data.dir"])
def test_a_config_takes_no_credentials(path, field):
    settings = config.default()
    settings.model.path = "model"
    group, name = field.split(".")
    settings[group][name] = path
    with pytest.raises(InputError, match=rf"config\.{field} holds credentials.*HF_TOKEN") as error:
        config.validate(settings)
    assert PASSWORD not in str(error.value)
    assert TOKEN not in str(error.value)


class _Echo(http.server.BaseHTTPRequestHandler):
    """A hub that refuses, and says in body and headers what it was sent."""

    seen: list[str] = []  # noqa: RUF012 (of the class: a handler lives for a request)

    def do_GET(self):
        sent = self.headers.get("Authorization") or ""
        self.seen.append(sent)
        body = json.dumps({"error": f"{sent} may not see {self.path}"}).encode()
        self.send_response(403)
        self.send_header("X-Error-Message", f"refused: {sent}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub():
    _Echo.seen.clear()
    server = http.server.ThreadingHTTPServer(("localhost", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"localhost:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("secret", ["token", pytest.param("password", marks=pytest.mark.long)])
def test_a_hub_that_echoes(hub, tmp_path, secret):
    program = "from jaxbpc import cli; from jaxbpc.checkpoint import locate as source\n"
    program += "cli.run(lambda: source.resolve('owner/model'), 'help')"
    user = f"user:{PASSWORD}@" if secret == "password" else ""
    token = TOKEN if secret == "token" else ""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ
        | {"HF_ENDPOINT": f"http://{user}{hub}", "HF_TOKEN": token, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "error: owner/model: cannot be had from the hub" in said
    assert _Echo.seen, "it was not even asked"
    assert secret == "password" or f"Bearer {TOKEN}" in _Echo.seen
    for word in (TOKEN, PASSWORD):
        assert word not in said
        assert base64.b64encode(f"user:{word}".encode()).decode() not in said


@pytest.mark.long
def test_a_run_leaves_no_secret_and_nothing_elsewhere(tmp_path):
    tiny.make_place(tmp_path / "place")
    before = set((tmp_path / "place").rglob("*"))
    secrets = {"HF_TOKEN": TOKEN, "AWS_SECRET_ACCESS_KEY": PASSWORD, "JAXBPC_TOKEN": TOKEN}
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    places = {"HOME": str(home), "JAXBPC_CACHE": str(cache), "TMPDIR": str(home)}
    process = tiny.start(tmp_path / "place", "run", started=warm.new, **secrets, **places)
    said = "".join(process.communicate())
    assert process.returncode == 0, said
    written = set((tmp_path / "place").rglob("*")) - before
    assert {path.relative_to(tmp_path / "place").parts[0] for path in written} == {"run"}
    assert not list(home.rglob("*"))
    files = [*written, *cache.rglob("*")]
    texts = [path.read_bytes() for path in files if path.is_file()]
    for secret in (TOKEN, PASSWORD):
        assert secret not in said
        assert not any(secret.encode() in text for text in texts)


class _Payload:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path(os.environ["PAYLOAD"]),))


@pytest.fixture
def opened():
    """Names of files that Python opens while it is on."""
    names, on = [], [True]

    def hook(event, arguments):
        if on[0] and event == "open":
            names.append(str(arguments[0]))

    sys.addaudithook(hook)
    yield names
    on[0] = False


PICKLES = ["pytorch_model.bin", "model.pt", "consolidated.pth", "training_args.bin", "x.pkl"]
CODE = ["modeling_evil.py", "tokenization_evil.py", "configuration_evil.py"]


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A good model with pickles and code beside it that leave a file where they are run."""
    monkeypatch.setenv("PAYLOAD", str(tmp_path / "ran"))
    folder = tiny.make_model(tmp_path / "model")
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(_Payload()))
    classes = {name.split("_")[0]: name.removesuffix(".py") for name in CODE}
    for name in CODE:
        (folder / name).write_text(
            f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()"
        )
    maps = {"AutoConfig": classes["configuration"], "AutoModelForCausalLM": classes["modeling"]}
    fields = tiny.CONFIG | {"auto_map": {k: f"{v}.Evil" for k, v in maps.items()}}
    (folder / "config.json").write_text(json.dumps(fields))
    about = {"auto_map": {"AutoTokenizer": [f"{classes['tokenization']}.Evil", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def test_no_code_and_no_pickle(evil, tmp_path, opened):
    tiny.write_corpus(tmp_path / "text.jsonl", tiny.TEXTS)
    tokens.stream(tmp_path / "text.jsonl", evil, tmp_path / "cache")
    mesh = sharding.make_mesh((1, 1, 1), jax.devices()[:1])
    load.load(load.open_checkpoint(evil), jnp.dtype("float32"), mesh, "xla")
    inside = {pathlib.Path(name).name for name in opened if str(evil) in name}
    assert "config.json" in inside
    assert not inside & {*PICKLES, *CODE}
    assert not (tmp_path / "ran").exists()


@pytest.mark.long
def test_a_tokenizer_of_code_alone_is_refused(evil, tmp_path):
    (evil / "tokenizer.json").rename(evil / "vocab.json")
    with pytest.raises(InputError, match=r"its tokenizer cannot be loaded"):
        tokens.load_tokenizer(evil)
    assert not (tmp_path / "ran").exists()


def test_pickles_alone_are_no_weights(evil, tmp_path):
    (evil / headers.SINGLE).unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load.open_checkpoint(evil)
    index = {"weight_map": {"model.norm.weight": "pytorch_model.bin"}}
    (evil / headers.INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"'pytorch_model\.bin' is no safetensors file"):
        load.open_checkpoint(evil)
    assert not (tmp_path / "ran").exists()


def test_the_package_has_nothing_that_runs_strangers_code():
    for path in pathlib.Path(jaxbpc.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in getattr(node, "names", ())] if "Import" in str(node) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            parts = {name.split(".")[0] for name in names}
            assert not parts & {"pickle", "cloudpickle", "dill", "marshal", "torch", "shelve"}, path
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("eval", "exec", "compile", "__import__"), path
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                assert ast.unparse(node.value) == "False", path


def test_a_copy_takes_no_links_out_of_the_folder(tmp_path):
    """What is copied may go to others: a stranger's link must not take one's own files along."""
    folder = tiny.make_model(tmp_path / "model")
    (tmp_path / "secret").write_text(PASSWORD)
    (folder / "added_tokens.json").symlink_to(tmp_path / "secret")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"added_tokens\.json is a link out of its folder"):
        locate.copy_small(folder, tmp_path / "out")
    assert PASSWORD not in "".join(p.read_text() for p in (tmp_path / "out").iterdir())


def test_a_hubs_cache_is_made_of_links(tmp_path):
    folder = tmp_path / "models--owner--name" / "snapshots" / "abc"
    blobs = tmp_path / "models--owner--name" / "blobs"
    blobs.mkdir(parents=True)
    tiny.make_model(folder)
    for path in folder.iterdir():
        shutil.move(path, blobs / path.name)
        path.symlink_to(pathlib.Path("../../blobs") / path.name)
    (tmp_path / "out").mkdir()
    locate.copy_small(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == tiny.CONFIG
    assert set(headers.tensors(folder))
