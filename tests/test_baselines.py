"""Compressors' bits per character: against one-shot calls and the programs themselves."""

import gzip
import json
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import time

import pytest
import tiny

from jaxbpc import config as config_lib
from jaxbpc.data import compressors, corpora
from jaxbpc.errors import InputError
from jaxbpc.evaluation import loop
from jaxbpc.prepare.readers import inputs
from jaxbpc.run import results
from jaxbpc.utils import paths

TEXTS = [f"Zeile {i}: Grüße {i * i}\u2028 𝑥\r\n" * (1 + i % 9) for i in range(1000)]


def corpus(folder, texts):
    """A corpus file, as the cache knows it."""
    path = folder / "long.jsonl"
    tiny.write_corpus(path, texts)
    return compressors.Corpus(path, corpora.file_sha256(path))


def test_it_is_one_stream_over_all_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(compressors, "_CHUNK", 1000)
    data, n = "".join(TEXTS).encode(), sum(map(len, TEXTS))
    got = compressors.bits_per_character(corpus(tmp_path, [*TEXTS, ""]), tmp_path)
    want = {
        "gzip": len(gzip.compress(data, 9)),
        "xz": len(lzma.compress(data, preset=6)),
        "zstd": len(inputs.zstd().compress(data, 19)),
    }
    assert got == {k: pytest.approx(8 * v / n, rel=2e-3) for k, v in want.items()}


def test_a_corpus_that_changes_while_it_is_read_is_not_kept(tmp_path):
    made = corpus(tmp_path, TEXTS)
    tiny.write_corpus(made.path, TEXTS[1:])
    with pytest.raises(InputError, match=r"long.jsonl: changed while it was read"):
        compressors.bits_per_character(made, tmp_path)
    assert compressors.kept(made, tmp_path) is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "program"), [("gzip", "gzip -9"), ("xz", "xz -6 -T1"), ("zstd", "zstd -19")]
)
def test_as_the_programs_do(tmp_path, name, program):
    if not shutil.which(program.split()[0]):
        pytest.skip(f"{name} is not installed")
    stdlib = pathlib.Path(sysconfig.get_paths()["stdlib"])
    texts = [(stdlib / f"{m}.py").read_text("utf-8") for m in ("argparse", "ast", "inspect")]
    data, n = "".join(texts).encode(), sum(map(len, texts))
    done = subprocess.run([*program.split(), "-c"], input=data, capture_output=True, check=True)
    got = compressors.measure(corpora.documents(corpus(tmp_path, texts).path))
    assert got[name] == pytest.approx(8 * len(done.stdout) / n, rel=0.01)


def test_a_large_corpus_is_measured_on_its_first_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(compressors, "LIMIT", 50_000)
    kept, size = [], 0
    for text in TEXTS:
        size += len(text.encode())
        if size > 50_000:
            break
        kept.append(text)
    got = compressors.measure(corpora.documents(corpus(tmp_path, TEXTS).path))
    assert got == compressors.measure(corpora.documents(corpus(tmp_path, kept).path))


def test_samples_and_template_are_the_run_s(tmp_path):
    whole = corpus(tmp_path, TEXTS)
    some = compressors.Corpus(whole.path, whole.sha256, 100, "#{content}")
    want = compressors.measure(
        corpora.documents(corpus(tmp_path, ["#" + t for t in TEXTS[:100]]).path)
    )
    corpus(tmp_path, TEXTS)
    assert compressors.bits_per_character(some, tmp_path) == want
    assert compressors.bits_per_character(whole, tmp_path) != want


@pytest.fixture
def run(tmp_path):
    model = tiny.make_model(tmp_path / "model")
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS)
    corpus(tmp_path / "data", TEXTS)

    def call(workdir, **fields):
        config = config_lib.default()
        config.model.path = str(model)
        config.data.dir = str(tmp_path / "data")
        config.data.corpora = ("text", "long")
        config.data.samples = 40
        config.window.block_size, config.window.stride = 100, 40
        config.model.dtype = "float32"
        config.update(fields)
        return loop.run(config, tmp_path / workdir)

    return call


@pytest.mark.long
def test_beside_the_model_s(run, tmp_path, monkeypatch):
    monkeypatch.setattr(compressors, "_SMALL", 1000)  # `text` here, `long` in the background
    got = run("run")
    for name, result in got.corpora.items():
        path = tmp_path / "data" / f"{name}.jsonl"
        assert result.baselines == compressors.measure(corpora.documents(path, 40))
    assert results.read(tmp_path / "run" / "results.json") == got
    lines = results.table(got).splitlines()
    assert "compressors        gzip       xz     zstd" in lines
    row = next(line for line in lines[lines.index("") :] if line.startswith("long"))
    values = got.corpora["long"].baselines
    assert row.split()[1:] == [f"{v:.4f}" for v in values.values()]
    monkeypatch.setattr(compressors, "measure", None)  # once and no more
    assert run("again").corpora == got.corpora
    off = run("off", baselines=False)
    assert {result.baselines for result in off.corpora.values()} == {None}
    assert "compressors" not in results.table(off)


@pytest.mark.long
def test_the_process_ends_with_its_body(tmp_path):
    wanted = {"long": corpus(tmp_path, TEXTS * 150)}
    with compressors.Background(wanted, tmp_path / "cache") as made:
        assert made.working()
        process = made._process
    assert process.returncode is not None
    assert made.found() == {}


@pytest.mark.long
def test_the_process_ends_with_its_parent(tmp_path):
    wanted = corpus(tmp_path, TEXTS * 50)
    program = (
        "import os, pathlib, sys; from jaxbpc.data import compressors as b\n"
        "c = b.Corpus(pathlib.Path(sys.argv[1]), 'x')\n"
        "made = b.Background({'c': c}, pathlib.Path(sys.argv[2])); made.__enter__()\n"
        "print(made._process.pid, flush=True); os._exit(0)\n"
    )
    line = [sys.executable, "-c", program, str(wanted.path), str(tmp_path / "cache")]
    pid = int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    for _ in range(100):
        try:
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    os.kill(pid, 9)
    pytest.fail("it goes on")


def test_the_cache_is_a_file_of_json(tmp_path):
    wanted = corpus(tmp_path, TEXTS[:10])
    got = compressors.bits_per_character(wanted, paths.cache_folder())
    assert json.loads(wanted.file(paths.cache_folder()).read_text()) == got
    wanted.file(paths.cache_folder()).write_text("damaged")
    assert compressors.bits_per_character(wanted, paths.cache_folder()) == got
