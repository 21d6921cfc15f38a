"""What must be the same for a run to go on, and what may change between its attempts."""

import pathlib
import shutil

import numpy_step
import pytest
import safetensors.numpy
import tiny

from jaxbpc import config as config_lib
from jaxbpc.errors import InputError
from jaxbpc.evaluation import loop
from jaxbpc.run.record import Record

pytestmark = pytest.mark.usefixtures("without_a_model")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A model, a corpus, and a run of them that ended."""
    folder = tmp_path_factory.mktemp("ended")
    tiny.make_model(folder / "model")
    tiny.write_corpus(folder / "data" / "text.jsonl", tiny.TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_job", numpy_step.load_job)
        run(folder)
    return folder


@pytest.fixture
def place(ended, tmp_path):
    """A copy of them, to change."""
    return pathlib.Path(shutil.copytree(ended, tmp_path / "copy"))


def run(place, **fields):
    config = config_lib.default()
    config.model.path = str(place / "model")
    config.data.dir = str(place / "data")
    config.data.corpora = ("text",)
    config.window.block_size, config.window.stride = 100, 40
    config.batch_per_device = 1
    config.model.dtype = "float32"
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return loop.run(config, place / "run")


def other_weights(place):
    path = place / "model" / "model.safetensors"
    weights = safetensors.numpy.load_file(path)
    weights["model.norm.weight"][3] += 1e-3
    safetensors.numpy.save_file(weights, path)


def other_theta(place):
    path = place / "model" / "config.json"
    path.write_text(path.read_text().replace('"vocab_size"', '"rope_theta": 20000.0, "vocab_size"'))


def other_tokenizer(place):
    (place / "model" / "tokenizer_config.json").write_text('{"clean_up_tokenization_spaces": true}')


def other_corpus(place):
    with open(place / "data" / "text.jsonl", "a") as file:
        file.write("\n")  # not a character more


CHANGES = [
    (other_weights, {}, "weights"),
    (other_theta, {}, "arch"),
    (other_tokenizer, {}, "tokenizer"),
    (other_corpus, {}, "corpus_sha256"),
    (None, {"window__block_size": 120}, "block_size"),
    (None, {"window__stride": 50}, "stride"),
    (None, {"window__block_size": 120, "window__stride": 50}, "block_size, stride"),
    (None, {"model__dtype": "bfloat16"}, "dtype"),
    (None, {"data__template": "{content} "}, "template"),
    (None, {"data__samples": 2}, "samples"),
    (other_weights, {"data__samples": 2}, "samples, weights"),
]


@pytest.mark.parametrize(("change", "fields", "names"), CHANGES, ids=[c[2] for c in CHANGES])
def test_what_differs_is_named(place, change, fields, names):
    before = {p: p.read_bytes() for p in (place / "run").rglob("*") if p.is_file()}
    if change:
        change(place)
    verb = "differ" if "," in names or names == "weights" else "differs"
    with pytest.raises(InputError, match=rf"run/text .*other settings \({names} {verb}\): give"):
        run(place, **fields)
    for path, data in before.items():
        assert path.read_bytes() == data, path


def test_what_may_change(place):
    want = run(place).corpora["text"]
    for fields in (
        {"batch_per_device": 3},
        {"mesh__data": 2, "mesh__fsdp": 2, "mesh__tensor": 2},
        {"model__attention": "xla"},
    ):
        record = Record.open(place / "run" / "text")
        kept = record.read("nll").copy()
        record.write(300, kept[300:900] * float("nan"))
        record.flush()
        again = run(place, **fields)
        assert again.runs[-1]["windows_scored"] > 10
        nll = Record.open(place / "run" / "text").read("nll")
        outside = [*range(1, 260), *range(1000, len(nll))]
        assert (nll[outside] == kept[outside]).all()
        assert again.corpora["text"].nats == want.nats
        assert again.corpora["text"].nats_full == want.nats_full
