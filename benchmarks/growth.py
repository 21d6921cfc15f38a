"""Time and memory against the number of windows, the batch and the model's size.

  python benchmarks/growth.py [--windows 150]

Scores a random model on random tokens, each run in a process of its own, through the main job. Ten
times the windows should take ten times as long, start-up apart, and no more memory: what is
resident during the last tenth of the windows against the second, medians, as steps take and give
back tens of MiB. Start-up ends with the first step, in which XLA's CPU runtime still makes its
kernels. Prints a table and a line of JSON.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import demo
import numpy as np

BLOCK, STRIDE = 1900, 512
SMALL = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4}
LARGE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8}
COMMON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_attention_heads": 8,
    "vocab_size": 256,
    "rms_norm_eps": 1e-5,
}


def make_model(folder: pathlib.Path, sizes: dict) -> None:
    """A random model whose tokenizer gives a token a byte."""
    import safetensors.numpy
    import tokenizers

    folder.mkdir()
    config = COMMON | sizes
    d, f, random = sizes["hidden_size"], sizes["intermediate_size"], np.random.RandomState(0)
    shapes = {"model.embed_tokens": (256, d), "lm_head": (256, d), "model.norm": (d,)}
    for layer in range(sizes["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        shapes |= {f"{p}self_attn.{n}_proj": (d, d) for n in "qkvo"}
        shapes |= {
            f"{p}mlp.gate_proj": (f, d),
            f"{p}mlp.up_proj": (f, d),
            f"{p}mlp.down_proj": (d, f),
        }
        shapes |= {f"{p}{n}_layernorm": (d,) for n in ("input", "post_attention")}
    tensors = {
        f"{name}.weight": (0.02 * random.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    vocab = {
        piece: i for i, piece in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    }
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))


def work(place: str, model: str, corpus: str, batch: int, run: str) -> None:
    """One run in this process: prints seconds a window after the first step, and memory."""
    from jaxbpc import config as config_lib
    from jaxbpc.evaluation import loop
    from jaxbpc.run import attempts

    seen: list[tuple[float, float]] = []  # after each window: time, resident MiB
    scored = attempts.Attempt.scored

    def watched(attempt: attempts.Attempt) -> None:
        scored(attempt)
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        seen.append((time.perf_counter(), pages * resource.getpagesize() / 2**20))

    attempts.Attempt.scored = watched  # type: ignore[method-assign]

    config = config_lib.default()
    config.model.path = f"{place}/{model}"
    config.model.dtype = "float32"
    config.data.dir, config.data.corpora = place, (corpus,)
    config.batch_per_device = batch
    results = loop.run(config, f"{place}/run-{run}")
    n, tenth = len(seen), max(1, len(seen) // 10)
    row = {"windows": n, "wall_s": results.speed["wall_s"]}
    row["scoring_s"] = (seen[-1][0] - seen[batch - 1][0]) * n / (n - batch)
    parts = (seen[tenth : 2 * tenth], seen[-tenth:])
    row["resident_mib"] = [statistics.median(mib for _, mib in part) for part in parts]
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=150)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        *names, batch, run = args.work
        work(*names, int(batch), run)
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name, sizes in (("small", SMALL), ("large", LARGE)):
            make_model(pathlib.Path(place) / name, sizes)
        letters = np.random.RandomState(0).randint(97, 123, 10 * args.windows * STRIDE + BLOCK)
        for name, n in (("one", args.windows), ("ten", 10 * args.windows)):
            text = bytes(letters[: n * STRIDE + BLOCK - STRIDE + 1].tolist()).decode()
            lines = [json.dumps({"content": text[i : i + 5000]}) for i in range(0, len(text), 5000)]
            (pathlib.Path(place) / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        # The few before and after the many: a machine's speed drifts.
        runs = [("small", "one", 1), ("small", "ten", 1), ("small", "one", 1)]
        runs += [("small", "one", 4), ("large", "one", 1)]
        print(f"{'model':<8}{'windows':>9}{'batch':>7}{'scoring s':>11}{'wall s':>9}", end="")
        print(f"{'MiB: 2nd/10':>13}{'last':>6}{'peak':>6}")
        for i, (model, corpus, batch) in enumerate(runs):
            command = [sys.executable, __file__, "--work", place, model, corpus, str(batch), str(i)]
            environment = os.environ | {"JAXBPC_CACHE": f"{place}/cache"}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            row = {"model": model, "batch": batch} | json.loads(done.stdout.splitlines()[-1])
            rows.append(row)
            print(f"{model:<8}{row['windows']:>9}{batch:>7}{row['scoring_s']:>11.1f}", end="")
            early, late = row["resident_mib"]
            print(
                f"{row['wall_s']:>9.1f}{early:>13.0f}{late:>6.0f}{row['peak_mib']:>6.0f}",
                flush=True,
            )
    one, ten, again = rows[:3]
    n = ten["windows"] / one["windows"]
    time_ratio = ten["scoring_s"] / (one["scoring_s"] + again["scoring_s"]) * 2 / n
    memory = ten["resident_mib"][1] / ten["resident_mib"][0]
    print(
        f"{n:.1f} times the windows: {time_ratio:.3f} of the time each; memory in the last "
        f"tenth {memory:.3f} of that in the second"
    )
    result = {"runs": rows, "time_each": time_ratio, "memory": memory, "machine": demo.machine()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
