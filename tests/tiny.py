"""A tiny random model with a byte-level tokenizer, and a small corpus."""

import json
import os
import socket
import time

import numpy as np
import safetensors.numpy
import tokenizers
import warm

VOCAB = 256
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
}


def make_model(folder, scale=0.1):
    """A random model with a byte-level tokenizer; scale 0 makes all logits equal."""
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    d, f, k = 32, 48, 16
    shapes = {"model.embed_tokens": (VOCAB, d), "lm_head": (VOCAB, d)}
    for layer in range(2):
        p = f"model.layers.{layer}."
        shapes |= {f"{p}self_attn.{n}_proj": (d, d) for n in "qo"}
        shapes |= {f"{p}self_attn.{n}_proj": (k, d) for n in "kv"}
        shapes |= {f"{p}mlp.gate_proj": (f, d), f"{p}mlp.up_proj": (f, d)}
        shapes |= {f"{p}mlp.down_proj": (d, f)}
        shapes |= {f"{p}{n}_layernorm": (d,) for n in ("input", "post_attention")}
    shapes["model.norm"] = (d,)
    tensors = {
        f"{name}.weight": (scale * random.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(alphabet)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


TEXTS = ["Grüße, x² = 4. " * 40, "", "def f(x):\n    return x\n" * 30]


def write_corpus(path, texts):
    """One JSON object a line with the text in `content`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"content": text}, ensure_ascii=False) for text in texts]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_place(folder):
    """The model, and corpora `text` and `long` (some hundreds, some thousands of windows)."""
    make_model(folder / "model")
    write_corpus(folder / "data" / "text.jsonl", TEXTS * 4)
    write_corpus(folder / "data" / "long.jsonl", TEXTS * 60)


def arguments(folder, workdir, corpus="text"):
    """Of `jaxbpc.main`, for what `make_place` wrote to `folder`; the workdir is in it."""
    return [
        "--config=configs/llama.py",
        f"--config.model.path={folder / 'model'}",
        f"--config.data.dir={folder / 'data'}",
        f"--config.data.corpora={corpus}",
        "--config.model.dtype=float32",
        "--config.window.block_size=64",
        "--config.window.stride=16",
        f"--workdir={folder / workdir}",
    ]


# What that job gives on one CPU device (`test_commands.py` holds it to that), by corpus.
BPC = {"text": 8.705469346842566, "long": 8.717037235710173}


def check_bpc(found, corpus="text"):
    """Results of that job on any devices have its number."""
    assert abs(found.corpora[corpus].bpc / BPC[corpus] - 1) < 1e-6


def wait_for(path, process, seconds=120):
    """Returns when `path` is there, or `process` has ended."""
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)


def free_ports(n):
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("localhost", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(
    place,
    workdir,
    *flags,
    corpus="text",
    devices=1,
    module="jaxbpc.main",
    started=warm.Started,
    **environment,
):
    """Starts the main job on a place that `make_place` made.

    started: (module, *arguments, env=…) → the process.
    """
    fields = {
        "model.path": place / "model",
        "data.dir": place / "data",
        "data.corpora": corpus,
        "window.block_size": 100,
        "window.stride": 40,
        "model.dtype": "float32",
    }
    settings = [f"--config.{name}={value}" for name, value in fields.items()]
    settings = ["--config=configs/llama.py", *settings, f"--workdir={place / workdir}"]
    devices = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return started(module, *settings, *flags, env=os.environ | devices | environment)


def start_two(place, workdir, *flags, each=((), ()), **settings):
    """Starts the main job as two processes; `each`: flags of one alone."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = [*flags, f"--coordinator_address={address}", "--num_processes=2"]
    return [
        start(place, workdir, *flags, f"--process_id={k}", *each[k], **settings) for k in range(2)
    ]
