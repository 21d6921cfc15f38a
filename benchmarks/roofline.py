"""The step's useful FLOP/s as a share of the rate that a large matrix product reaches here.

  python benchmarks/roofline.py [--model MODEL] [--dtype float32|bfloat16] [--repeats 5]

Useful are the FLOPs of `costs.flops`: no padding, causal attention, the head and the last layer at
the scored rows alone. The product is [4096, 4096] by [4096, 4096] in the same dtype with float32
accumulation; it and 4 windows run in turn. Prints a table and a line of JSON.
"""

import argparse
import json
import statistics
import time

import demo
import jax
import jax.numpy as jnp
import numpy as np
from against_torch import BLOCK, STRIDE, TURN, ours, windows

from jaxbpc.checkpoint import load
from jaxbpc.models import costs
from jaxbpc.models.layers import dot

SIZE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    folder = demo.folder(args.model)
    ids, _ = windows(folder, TURN * (args.repeats + 1))
    step = ours(folder, args.dtype)
    flops = TURN * costs.flops(load.open_checkpoint(folder).arch, BLOCK, STRIDE).total
    a = jnp.asarray(np.random.RandomState(0).standard_normal((SIZE, SIZE)), args.dtype)
    product = jax.jit(lambda a: dot("td,fd->tf", a, a))
    step_rates, product_rates = [], []
    for turn in ids.reshape(-1, TURN, BLOCK + 1):
        began = time.perf_counter()
        step(turn)
        middle = time.perf_counter()
        product(a).block_until_ready()
        step_rates.append(flops / (middle - began) / 1e9)
        product_rates.append(2 * SIZE**3 / (time.perf_counter() - middle) / 1e9)
    pairs = zip(step_rates[1:], product_rates[1:], strict=True)  # the first is a warm-up
    share = statistics.median(s / p for s, p in pairs)
    rates = [statistics.median(rates[1:]) for rates in (step_rates, product_rates)]
    print(f"{args.dtype}: step {rates[0]:.0f} GFLOP/s, product {rates[1]:.0f} GFLOP/s: {share:.0%}")
    names = ("step_gflop_s", "product_gflop_s")
    result = dict(zip(names, rates, strict=True)) | {"share": share, "dtype": args.dtype}
    print(json.dumps(result | {"gflop_a_window": flops / TURN / 1e9, "machine": demo.machine()}))


if __name__ == "__main__":
    main()
