"""Every fault that a user can fix, through the command: exit 2, one line, the culprit named."""

import json
import os
import subprocess
import sys

import pytest
import tiny
import warm

from jaxbpc.run import results

CONFIG = """
from jaxbpc import config as config_lib

def get_config():
    config = config_lib.default()
    config.model.path = "model"
    config.data.dir = "data"
    config.data.corpora = ("text",)
    config.window.block_size, config.window.stride = 100, 40
    return config
"""


@pytest.fixture
def place(tmp_path):
    """A folder with a model, a corpus and a config, that tests then break."""
    tiny.make_model(tmp_path / "model")
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS)
    (tmp_path / "run.py").write_text(CONFIG)
    return tmp_path


def run(place, *flags, module="jaxbpc.main"):
    environment = os.environ | {"XLA_FLAGS": ""}
    return warm.run(module, "--config=run.py", *flags, cwd=place, env=environment)


def refused(done, *words):
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    for word in words:
        assert word in errors[0]


def test_the_place_is_good(place):
    done = run(place, module="numpy_step")
    assert done.returncode == 0, done.stderr
    assert "text" in done.stdout
    assert (place / "runs" / "run" / "results.json").exists()
    again = run(place, "--config.window.stride=50", module="numpy_step")
    refused(again, "runs/run/text", "stride differ", "--workdir")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--config.window.strid=3", ["strid", "stride"]),
        ("--workdir=file:///dev/null/run", ["file:///dev/null/run", "cannot be read or written"]),
        ("--config.windw.stride=3", ["windw", "window"]),
        ("--config.window.stride=x", ["stride", "x"]),
        ("--config.data.corpora=text.jsonl", ["text.jsonl.jsonl", "leave the ending off"]),
        ("--config.model.pth=x", ["config.model.pth does not exist", "config.model.path?"]),
        ("--config.model.path.x=2", ["config.model.path has no fields"]),
        ("--config.window.stride=0", ["config.window.stride is 0", "1 to block_size"]),
        ("--config.window.stride=101", ["config.window.stride is 101", "block_size 100"]),
        ("--config.window.block_size=0", ["config.window.stride", "block_size 0"]),
        ("--config.batch_per_device=-1", ["config.batch_per_device is -1"]),
        ("--config.mesh.data=3", ["config.mesh", "data=3", "does not fit 1 device"]),
        ("--config.mesh.tensor=2", ["config.mesh", "does not fit 1 device"]),
        ("--config.model.dtype=float16", ["config.model.dtype", "bfloat16"]),
        ("--config.model.attention=flash", ["config.model.attention", "blocked"]),
        ("--config.model.attention=splash", ["config.model.attention", "does not run on cpu"]),
        ("--config.model.path=absent/", ["absent/ does not exist"]),
        ("--config.model.path=run.py", ["run.py is a file", "config.json"]),
        ("--config.model.tokenizer=data", ["data: no tokenizer files", "config.model.tokenizer"]),
        ("--config.data.corpora=absent", ["data/absent.jsonl does not exist", "config.data.dir"]),
        ("--config.data.corpora=python", ["data/python.jsonl", "jaxbpc.prepare paper"]),
        ("--config.data.corpora=", ["config.data.corpora is empty"]),
        ("--config.data.corpora=text,text", ["config.data.corpora", "once"]),
        ("--config.data.samples=0", ["config.data.samples is 0"]),
        ("--config.data.template=a", ["config.data.template", "{content}"]),
        ("--config.data.template={content", ["config.data.template"]),
        ("--config.data.template={title}", ["text.jsonl:1", "`title`"]),
        ("--workdir=run.py/under", ["run.py/under", "cannot be written", "--workdir"]),
        ("--distributed=on", ["--coordinator_address"]),
        ("--coordinator_address=localhost:1", ["--num_processes", "--process_id"]),
    ],
)
def test_settings(place, flag, words):
    refused(run(place, flag), *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"content": "a"}\n{"content"', ["data/text.jsonl:2: not JSON"]),
        (b'{"text": "a"}\n', ["data/text.jsonl:1: the row has no `content`"]),
        (b'{"content": 3}\n', ["data/text.jsonl:1: `content` is int"]),
        (b'{"content": "\xff"}\n', ["data/text.jsonl:1: not UTF-8"]),
        (b'{"content": "\\ud800"}\n', ["data/text.jsonl:1: the text has half a surrogate"]),
        (b"[1]\n", ["data/text.jsonl:1: a row is a JSON object"]),
        (b"", ["data/text.jsonl: no text"]),
        (b'{"content": ""}\n', ["data/text.jsonl: no text"]),
    ],
)
def test_corpus(place, content, words):
    (place / "data" / "text.jsonl").write_bytes(content)
    refused(run(place), *words)


def test_corpus_given_twice(place):
    (place / "data" / "text.json").write_text("[]")
    refused(run(place), "data/text.jsonl", "text.json both exist")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "nonsense"}, ["config.json", "'nonsense'", "llama"]),
        ({"model_type": None}, ["config.json", "model_type"]),
        ({"hidden_size": "x"}, ["config.json", "hidden_size", "int"]),
        ({"vocab_size": 128}, ["wrong shape", "model.embed_tokens.weight", "[128, 32]"]),
        ({"num_hidden_layers": 3}, ["missing", "model.layers.2.mlp.down_proj.weight"]),
        ({"num_hidden_layers": 1}, ["extra", "model.layers.1.mlp.down_proj.weight"]),
        ({"sliding_window": 64}, ["config.json", "sliding_window=64"]),
        ({"rope_scaling": {"rope_type": "odd"}}, ["config.json", "rope_scaling", "odd"]),
    ],
)
def test_model_config(place, change, words):
    path = place / "model" / "config.json"
    path.write_text(json.dumps(tiny.CONFIG | change))
    refused(run(place), *words)


def test_model_files(place):
    model = place / "model"
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-100])
    refused(run(place), "model.safetensors", "truncated")
    (model / "model.safetensors").unlink()
    refused(run(place), "model has no model.safetensors")
    (model / "model.safetensors").write_bytes(weights)
    (model / "config.json").write_text("{")
    refused(run(place), "config.json", "cannot be read as JSON")
    (model / "config.json").unlink()
    refused(run(place), "config.json does not exist")


def test_ids_outside_of_the_vocabulary(place):
    path = place / "model" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {piece: 2 * index for piece, index in vocab.items()}
    path.write_text(json.dumps(tokenizer))
    refused(run(place), "gives id", "vocabulary has 256", "config.model.tokenizer")


def test_stdout_that_takes_no_table(place):
    command = [sys.executable, "-m", "numpy_step", "--config=run.py"]
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=place, env=environment, stdout=full, stderr=subprocess.PIPE, text=True
        )
    refused(done, "stdout cannot be written", "runs/run/results.json")
    assert results.read(place / "runs" / "run" / "results.json").corpora["text"].bpc > 0
