"""What the host makes against what the step takes: tokens, batches, and a second run.

  python benchmarks/host.py [--model MODEL]

Prints characters and tokens a second of tokenising (a corpus of the demo's texts, 200 times over),
windows a second of batches as the step gets them, windows a second of the step itself, and how long
a second tokenising takes, as a table and a line of JSON.
"""

import argparse
import json
import pathlib
import tempfile
import time

import demo
import jax
import numpy as np
from against_torch import BLOCK, STRIDE, TURN, ours, windows

from jaxbpc.data import batches, corpora, tokens
from jaxbpc.data.windows import Plan
from jaxbpc.parallel import sharding

REPEATS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    folder = demo.folder(parser.parse_args().model)
    text = corpora.find(demo.config().data.dir, "python").read_bytes()
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / "long.jsonl"
        path.write_bytes(text * REPEATS)
        calls: list[int] = []
        times = []
        for _ in range(2):
            began = time.perf_counter()
            stream = tokens.stream(path, folder, pathlib.Path(temporary), progress=calls.append)
            times.append(time.perf_counter() - began)
            n_characters = sum(calls)  # the second time adds nothing
        plan = Plan(len(stream.token_ids), BLOCK, STRIDE)
        mesh = sharding.make_mesh((1, 1, 1), jax.devices()[:1])
        layout = sharding.named(("batch", None), (1, BLOCK), mesh)
        todo = list(range(min(plan.n_windows, 1000)))
        began = time.perf_counter()
        for batch in batches.batches(stream.token_ids, plan, todo, 1, layout):
            batch.targets_BT.block_until_ready()
        batch_rate = len(todo) / (time.perf_counter() - began)
    step = ours(folder, "float32")
    ids, _ = windows(folder, 4 * TURN)
    seconds = []
    for turn in ids.reshape(-1, TURN, BLOCK + 1):
        began = time.perf_counter()
        step(turn)
        seconds.append((time.perf_counter() - began) / TURN)
    step_rate = 1 / float(np.median(seconds[1:]))
    result = {
        "characters_per_s": n_characters / times[0],
        "tokens_per_s": len(stream.token_ids) / times[0],
        "second_time_s": times[1],
        "characters_tokenised": n_characters,
        "characters_in_corpus": stream.characters,
        "batches_windows_per_s": batch_rate,
        "step_windows_per_s": step_rate,
        "batches_over_step": batch_rate / step_rate,
        "tokenising_over_step": len(stream.token_ids) / times[0] / STRIDE / step_rate,
        "machine": demo.machine(),
    }
    assert n_characters == stream.characters, "the second run tokenised again"
    for name, value in result.items():
        print(
            f"{name:<24}{value:>16,.2f}" if isinstance(value, float) else f"{name:<24}{value:>16}"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
