"""Runs against the published tables: which model, how far, what to do."""

import pytest
import run_folders
import warm

from jaxbpc import published, verify
from jaxbpc.analysis import runs
from jaxbpc.errors import InputError

LLAMA_2_7B = {"commoncraw": 0.6117, "python": 0.3536, "arxiv_math": 0.4995}


def read(tmp_path, bpc=None, **fields):
    return runs.read(
        [str(run_folders.write_paper_run(tmp_path / "run", bpc or LLAMA_2_7B, **fields))]
    )[0]


def command(folder, *flags):
    return warm.run("jaxbpc.verify", folder, *flags)


def test_it_agrees(tmp_path):
    run = read(tmp_path)
    done = command(run.folder)
    assert done.returncode == 0, done.stderr
    assert "Llama-2-7b, recognised by its hub id" in done.stdout
    assert "agrees within 0.002" in done.stdout
    # Both tables are shown: the paper's in 3 decimals, OpenCompass's in 4.
    found = verify.verify(run)
    assert [round(d, 4) for d in found.differences[found.tables[0].source].values()] == [
        -0.0003,
        -0.0004,
        -0.0005,
    ]
    assert set(found.differences[found.tables[1].source].values()) == {0.0}


@pytest.mark.parametrize(("shift", "agrees"), [(0.002, True), (-0.002, True), (0.0026, False)])
def test_the_limit(tmp_path, shift, agrees):
    """0.002 from the paper's own number still agrees, whatever the last bit of the difference."""
    bpc = {"commoncraw": 0.582 + shift, "python": 0.268 + shift, "arxiv_math": 0.43 - shift}
    run = read(tmp_path, bpc, path="meta-llama/Meta-Llama-3-8B")
    assert verify.verify(run).agrees == agrees


def test_one_table_is_enough(tmp_path):
    """The two tables of Qwen1.5-7B are 0.0015 apart on Python: near either is near."""
    bpc = {"python": 0.2955}
    assert verify.verify(read(tmp_path, bpc, path="Qwen/Qwen1.5-7B")).agrees
    bpc = {"python": 0.2960}
    found = verify.verify(read(tmp_path, bpc, path="Qwen/Qwen1.5-7B"))
    assert not found.agrees
    assert any("0.0015 apart" in reason for reason in found.reasons)


def test_it_differs(tmp_path):
    run = read(tmp_path, LLAMA_2_7B | {"python": 0.3600})
    done = command(run.folder)
    assert done.returncode == 3
    assert "differs by up to 0.0060; known reasons:" in done.stdout
    assert "tokenizers 0.22.1" in done.stdout
    assert "bfloat16" in done.stdout
    assert "SHA-256 1f" in done.stdout
    assert not done.stderr


def test_settings_that_explain_it(tmp_path):
    folder = tmp_path / "run"
    corpora = {"python": run_folders.given(0.5, 98_000)}
    run_folders.write_results(folder, corpora, data={"samples": 100, "template": "# {content}"})
    done = command(folder)
    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: ")
    for told in ("config.data.samples is 100", "config.data.template", "98,000 characters"):
        assert told in error
    assert "+0.1460" in done.stdout


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "Llama-2-7b"),
        ("/data/models/Llama-2-7b-hf", "Llama-2-7b"),
        ("models/llama-2-7b/", "Llama-2-7b"),
        ("~/.cache/hub/models--huggyllama--llama-7b/snapshots/0af3", "Llama-1-7b"),
        ("Qwen/Qwen-1_8B", "Qwen-1.8b"),
        ("01-AI/yi-34b", "Yi-34b"),
        ("somewhere/Qwen1.5-110B", "Qwen1.5-110B"),
    ],
)
def test_a_name_is_recognised(tmp_path, path, name):
    model, how = verify.recognise(read(tmp_path, path=path))
    assert model.name == name
    assert "name" in how or "hub id" in how


def test_a_size_is_recognised(tmp_path):
    about = {"architecture": "MistralForCausalLM", "parameters": 7_241_732_096}
    run = read(tmp_path, path="checkpoint", model=about)
    model, how = verify.recognise(run)
    assert model.name == "Mistral-7b"
    assert how == "by its architecture and size alone"
    assert "as for chat" in verify.verify(run).reasons[0]
    about["parameters"] = 7_248_023_552  # v0.3, of a larger vocabulary
    with pytest.raises(InputError, match="is the name of no published model"):
        verify.recognise(read(tmp_path, path="checkpoint", model=about))


def test_two_of_one_size_are_asked_for(tmp_path):
    run = read(tmp_path, path="checkpoint")
    with pytest.raises(InputError, match=r"--model NAME .*size: Llama-1-7b, Llama-2-7b\)"):
        verify.recognise(run)
    assert verify.recognise(run, "llama-2-7B")[0].name == "Llama-2-7b"
    with pytest.raises(InputError, match=r"'Lama-2-7b' is no published model: .*Llama-2-7b"):
        verify.recognise(run, "Lama-2-7b")


def test_a_chat_model_is_not_its_base(tmp_path):
    run = read(tmp_path, path="meta-llama/Llama-2-7b-chat-hf")
    with pytest.raises(InputError, match="is the name of no published model"):
        verify.recognise(run)


def test_nothing_to_compare(tmp_path):
    folder = run_folders.write_results(tmp_path / "run", {"prose": run_folders.given(1.0)})
    done = command(folder)
    assert done.returncode == 2
    assert "run on the paper's corpora" in done.stderr
    run_folders.write_results(folder, {"python": run_folders.given(None)})
    assert command(folder).returncode == 2
    assert command(tmp_path / "absent").returncode == 2


def llama(d, layers, f, vocabulary, share=1.0):
    """Parameters of a Llama: embeddings, head, projections, norms; keys and values at a share."""
    attention = 2 * d * d + 2 * d * int(d * share)
    return 2 * vocabulary * d + layers * (attention + 3 * d * f + 2 * d) + d


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Llama-1-7b", llama(4096, 32, 11008, 32000)),
        ("Llama-2-13b", llama(5120, 40, 13824, 32000)),
        ("Llama-1-30b", llama(6656, 60, 17920, 32000)),
        ("Llama-1-65b", llama(8192, 80, 22016, 32000)),
        ("Llama-2-70b", llama(8192, 80, 28672, 32000, 1 / 8)),
        ("Llama-3-8b", llama(4096, 32, 14336, 128256, 1 / 4)),
        ("Mistral-7b", llama(4096, 32, 14336, 32000, 1 / 4)),
        ("Yi-34b", llama(7168, 60, 20480, 64000, 1 / 7)),
        ("Deepseek-llm-67b", llama(8192, 95, 22016, 102400, 1 / 8)),
        ("Qwen-1.5-72b", llama(8192, 80, 24576, 152064) + 80 * 3 * 8192),
        ("Qwen-7b", llama(4096, 32, 11008, 151936) + 32 * 3 * 4096),
    ],
)
def test_published_sizes(name, count):
    """The table's counts follow from the models' published dimensions."""
    assert next(m.parameters for m in published.models() if m.name == name) == count
