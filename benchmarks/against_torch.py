"""jaxbpc against the reference's path in torch: the same windows, dtype and threads, in turn.

  python benchmarks/against_torch.py [--model MODEL] [--dtype float32|bfloat16] [--repeats 5]

The reference's path is a forward pass of Hugging Face transformers over the whole window, logits of
all its positions, float32 cross entropy of all of them; of these a window after the first uses 512.
Each side runs in a process of its own, so that peak memory is its own, and waits while the other
works; a turn is of 4 windows, which the reference's script does one by one. Prints seconds a window
(median), peak memory, and what the two differ by in BPC on these windows, as a table and a line of
JSON.
"""

import argparse
import json
import math
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import demo
import numpy as np

BLOCK, STRIDE = 1900, 512
TURN = 4  # windows: as in a run, more wait than are worked on


def windows(folder: pathlib.Path, n: int) -> tuple[np.ndarray, int]:
    """([n, 1901] ids of windows 1 …, characters of the tokens that they score)."""
    from jaxbpc.data.windows import Plan

    stream = demo.stream(folder)
    plan = Plan(len(stream.token_ids), BLOCK, STRIDE)
    chosen = [plan.window(1 + i % (plan.n_windows - 1)) for i in range(n)]
    ids = np.stack([stream.token_ids[w.begin : w.end] for w in chosen]).astype(np.int32)
    ends = stream.token_char_end
    return ids, sum(int(ends[w.end - 1] - ends[w.first_scored - 1]) for w in chosen)


def ours(folder: pathlib.Path, dtype: str):
    """A function ids [n, 1901] → nats [n, STRIDE] of the last targets, by the real steps."""
    import jax

    from jaxbpc import config as config_lib
    from jaxbpc.checkpoint import load
    from jaxbpc.evaluation import layout as layout_lib
    from jaxbpc.evaluation import step as step_lib
    from jaxbpc.models.decoder import Decoder

    config = config_lib.default()
    config.model.path, config.model.dtype = str(folder), dtype
    checkpoint = load.open_checkpoint(folder)
    settings = config_lib.validate(config)
    chosen = layout_lib.choose(settings, checkpoint.arch, checkpoint.own_head, jax.devices()[:1])
    model, _ = load.load(checkpoint, chosen.dtype, chosen.mesh, chosen.attention)
    step = step_lib.Step(Decoder.hidden, Decoder.output, chosen.mesh)
    step = step.compile(model, (1, BLOCK), STRIDE)
    step_lib.keep_freed_memory([step])

    def run(ids: np.ndarray) -> np.ndarray:
        with step_lib.dispatcher(chosen.steps_at_once) as dispatch:
            waiting = [dispatch(step, model, one[None, :-1], one[None, 1:]) for one in ids]
            return np.concatenate([values_of() for values_of in waiting])

    return run


def reference(folder: pathlib.Path, dtype: str):
    """The same in torch, one window after the other as the reference's script does."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.eval()

    def one(ids: np.ndarray) -> np.ndarray:
        tokens = torch.from_numpy(ids).long()
        with torch.no_grad():
            logits = model(tokens[None, :-1]).logits[0].float()
            nll = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")
        return nll[-STRIDE:].numpy()

    return lambda ids: np.stack([one(window) for window in ids])


def work(side: str, folder: str, dtype: str) -> None:
    """A side's process: a line with ids in, a line with seconds and nats out; memory at the end."""
    out, sys.stdout = sys.stdout, sys.stderr
    run = {"jaxbpc": ours, "torch": reference}[side](pathlib.Path(folder), dtype)
    for line in sys.stdin:
        ids = np.array(json.loads(line), np.int32)
        began = time.perf_counter()
        nats = run(ids)
        seconds = (time.perf_counter() - began) / len(ids)
        row = {"seconds": seconds, "nats": math.fsum(nats.ravel().tolist())}
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(row), file=out, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, args.model, args.dtype)
        return
    folder = demo.folder(args.model)
    ids, n_chars = windows(folder, TURN * (args.repeats + 1))  # the first turn is a warm-up
    command = [sys.executable, __file__, f"--model={folder}", f"--dtype={args.dtype}"]
    pipe = subprocess.PIPE
    sides = {
        side: subprocess.Popen([*command, f"--work={side}"], stdin=pipe, stdout=pipe, text=True)
        for side in ("jaxbpc", "torch")
    }
    rows: dict[str, list[dict]] = {side: [] for side in sides}
    for turn in ids.reshape(-1, TURN, BLOCK + 1):
        for side, process in sides.items():
            time.sleep(1)  # threads of the other side may still spin
            print(json.dumps(turn.tolist()), file=process.stdin, flush=True)
            rows[side].append(json.loads(process.stdout.readline()))
    for process in sides.values():
        process.communicate()
    result = {
        side: {
            "seconds": statistics.median(r["seconds"] for r in side_rows[1:]),
            "peak_mib": side_rows[-1]["peak_mib"],
            "nats": math.fsum(r["nats"] for r in side_rows),
        }
        for side, side_rows in rows.items()
    }
    mine, theirs = result["jaxbpc"], result["torch"]
    ratios = [t["seconds"] / j["seconds"] for j, t in zip(*rows.values(), strict=True)][1:]
    result |= {
        "speedup": statistics.median(ratios),
        "memory": mine["peak_mib"] / theirs["peak_mib"],
        "bpc_difference": (mine["nats"] - theirs["nats"]) / (n_chars * math.log(2)),
        "dtype": args.dtype,
        "model": str(folder.name),
        "machine": demo.machine(),
    }
    print(f"{'':<10}{'s a window':>12}{'peak MiB':>10}")
    for side in sides:
        print(f"{side:<10}{result[side]['seconds']:>12.2f}{result[side]['peak_mib']:>10.0f}")
    print(f"{args.dtype}: {result['speedup']:.2f}x as fast (pairs {min(ratios):.2f} to", end=" ")
    print(f"{max(ratios):.2f}), {result['memory']:.2f} of the memory, BPC", end=" ")
    print(f"{result['bpc_difference']:+.1e}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
