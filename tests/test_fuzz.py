"""Random damage to what each reader takes: refused by an InputError, or read right.

`readers.py` has the readers and their oracles, `fuzz.py` runs them guided by coverage.
"""

import copy
import json
import resource
import struct

import cases
import pytest
import readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbpc import config
from jaxbpc.checkpoint import headers
from jaxbpc.errors import InputError
from jaxbpc.models.families import FAMILIES

_NUMBERS = [0, -1, 1, 2, 3, 255, 2**31, 2**32 - 1, 2**40, 2**63, 2**64, 10**30, 10**400]
_FLOATS = [0.5, -1.5, 1e308, 1e-320, float("nan"), float("inf"), -float("inf")]
_TEXTS = ["", "a", "<s>", "silu", "../x", "/etc/passwd", "\0", "\x1b[2J", "\ud800", "x" * 3000]
_PARTS = [None, True, False, [], {}, [[]], {"a": {}}, [None] * 3, {"type": "Odd"}, ["a", 1]]
EDGES = st.sampled_from([*_NUMBERS, *_FLOATS, *_TEXTS, *_PARTS]).map(copy.deepcopy)


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@st.composite
def mutated(draw, good):
    """A JSON value with up to three of its parts replaced, removed, repeated or renamed."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(value))[:2000]))
        if not path:
            continue
        *parents, last = path
        inside = value
        for key in parents:
            inside = inside[key]
        how = draw(st.sampled_from(["replace", "replace", "remove", "repeat", "rename"]))
        if how == "replace":
            inside[last] = draw(EDGES)
        elif how == "remove":
            del inside[last]
        elif isinstance(inside, list):
            inside.append(copy.deepcopy(inside[last]))
        else:
            inside[draw(st.sampled_from(_TEXTS))] = copy.deepcopy(inside[last])
    return value


def as_json(value, draw):
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return text.encode(errors="surrogatepass")


@st.composite
def flipped(draw, good, longest=4000):
    """Bytes with some of them changed, removed or repeated."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(data), longest)))
        how = draw(st.sampled_from(["set", "insert", "cut", "number"]))
        if how == "set":
            data[at : at + 1] = draw(st.binary(max_size=2))
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        elif how == "number":
            data[at : at + 8] = struct.pack("<Q", draw(st.sampled_from(_NUMBERS[:11])) % 2**64)
        else:
            data = data[:at] if draw(st.booleans()) else data[: at // 2] + data[at:]
    return bytes(data)


@st.composite
def of_corpus(draw):
    row = mutated({"content": "Grüße", "subset": "a", "date": "2024-01-01", "x": [1]})
    rows = [as_json(draw(row), draw) for _ in range(draw(st.integers(0, 3)))]
    rows += [draw(st.binary(max_size=20))] if draw(st.booleans()) else []
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\r", b",", b"\n\n", b"\xe2\x80\xa8"]))
    data = draw(st.sampled_from([b"", b"\xef\xbb\xbf", b" ", b"[", b"\xff\xfe"])) + end.join(rows)
    return data + draw(st.sampled_from([b"", b"\n", b"]", b"]\n", b",]"]))


@st.composite
def of_config(draw):
    kind, fields = cases.CASES[draw(st.sampled_from(sorted(cases.CASES)))]
    base = draw(st.sampled_from([json.loads(readers.SEEDS["config.json"][0]), fields]))
    return as_json(draw(mutated({"model_type": kind} | base)), draw)


@st.composite
def of_header(draw):
    shapes = st.lists(st.sampled_from([0, 1, 2, 3, 2**40]), max_size=3)
    kinds = st.sampled_from(["F32", "BF16", "F8_E4M3", "U8", "F4", "BOOL", "I64", "C64", "?"])
    fields, end = {}, 0
    for name in draw(st.lists(st.sampled_from("abcd"), max_size=4, unique=True)):
        begin, end = end, end + draw(st.sampled_from([0, 4, 8, 12]))
        fields[name] = {"dtype": draw(kinds), "shape": draw(shapes), "data_offsets": [begin, end]}
    fields = draw(mutated(fields)) if fields and draw(st.booleans()) else fields
    text = as_json(fields, draw)
    length = draw(st.sampled_from([len(text), len(text), len(text) - 1, 0, 2**63]))
    return struct.pack("<Q", length) + text + bytes(draw(st.sampled_from([end, end, end + 1])))


@st.composite
def of_flags(draw):
    groups = config.default().to_dict()
    names = [f"config.{g}.{n}" for g, v in groups.items() if isinstance(v, dict) for n in v]
    names += ["config.batch_per_device", "config.nothing.there", "nothing", "config", "workdir"]
    words = []
    for name in draw(st.lists(st.sampled_from(names), max_size=3)):
        value = draw(st.one_of(EDGES.map(str), st.text(max_size=8), st.just("None")))
        joined = draw(st.sampled_from(["=", "\n"]))
        words.append(f"--{name}{joined}{value}")
    return "\n".join(words).encode(errors="replace")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    readers.prepare(folder)
    return folder


def inputs(name):
    """What a reader is given."""
    seeds = readers.SEEDS.get(name, [b""])
    if name in ("tokenizer", "record", "index"):
        values = st.sampled_from(seeds).flatmap(lambda seed: mutated(json.loads(seed)))
        return values.flatmap(lambda v: st.builds(json.dumps, st.just(v))).map(
            lambda text: text.encode(errors="surrogatepass")
        )
    made = {"corpus": of_corpus, "config.json": of_config, "safetensors header": of_header}
    made["flags"] = of_flags
    if name in made:
        return made[name]()
    return st.sampled_from(seeds).flatmap(flipped)


@pytest.mark.parametrize("n", [10, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", readers.READERS)
def test_reader(folder, name, n):
    n = 2 if (name, n) == ("flags", 10) else n  # each runs a config file
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

    # Few inputs are always the same ones: the default suite does not fail by chance.
    @settings(
        max_examples=n,
        deadline=None,
        database=None,
        derandomize=n < 100,
        suppress_health_check=checks,
    )
    @given(inputs(name))
    def check(data):
        readers.READERS[name](data, folder / name)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024  # KiB


@pytest.mark.parametrize("n", [50, pytest.param(2000, marks=pytest.mark.long)])
def test_configs_of_all_families(n):
    """config.json → Arch, of every family: an Arch of sizes that are possible, or refused."""

    @settings(max_examples=n, deadline=None, database=None, derandomize=n < 1000)
    @given(st.sampled_from(sorted(cases.CASES)).flatmap(lambda c: _case(cases.CASES[c])))
    def check(config_json):
        try:
            arch = FAMILIES[config_json["model_type"]].to_arch(config_json, "config.json")
        except InputError:
            return
        assert 0 < arch.n_layers <= 1000
        assert 0 < arch.embed <= 2**40
        assert 0 < arch.attention.n_heads <= 2**16

    check()


def _case(case):
    kind, fields = case
    return mutated(dict(fields)).map(lambda value: {**value, "model_type": kind})


def test_what_is_right_is_read(folder):
    """The seeds are not refused: fuzzing begins beyond the first check."""
    for name in ("index", "safetensors header"):
        place = folder / name
        readers.READERS[name](readers.SEEDS[name][0], place)
        assert set(headers.tensors(place)) == {"a"}
