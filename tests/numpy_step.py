"""A step in numpy in place of a model's, for tests of what is around the model; compiles nothing.

python -m numpy_step FLAGS     jaxbpc.main with it

A token's nats are a hash of the window's first tokens, its position in the window, the token itself
and the weights' bytes: a window that is read, scored or recorded at a wrong place gets other nats.
For one process: the step's inputs must lie on its devices.
"""

import hashlib
import os
import time

import numpy as np

from jaxbpc.checkpoint import load
from jaxbpc.evaluation import loop
from jaxbpc.evaluation.setup import Loaded

# The environment variable for the seconds that a step takes, for tests that stop a run midway.
SECONDS = "NUMPY_STEP_SECONDS"


def load_job(job, shared=None):
    """In place of `setup.load_job`: steps by the rows that they score, the weights' fingerprint."""
    layout = job.layout
    how = (layout.dtype, layout.mesh, layout.attention, layout.stacked)
    weights = fingerprint(job.checkpoint.folder)
    rows = {plan.rows(i) for plan in job.plans.values() for i in range(min(plan.n_all_windows, 2))}
    steps = {n: step(n, weights) for n in rows}
    return Loaded(load.abstract(job.checkpoint, *how), steps, weights, load_s=0.0, compile_s=0.0)


def fingerprint(folder):
    """SHA-256 of a checkpoint's safetensors files."""
    files = sorted(folder.glob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def step(rows, weights):
    """(model, inputs_BT, targets_BT) → nats of the last `rows` targets of each window."""
    seconds = float(os.environ.get(SECONDS, 0))

    def run(model, inputs_BT, targets_BT):
        time.sleep(seconds)
        return nats(np.asarray(inputs_BT), np.asarray(targets_BT), weights)[:, -rows:]

    return run


def nats(inputs_BT, targets_BT, weights):
    """[B, T] float32 between 0 and 4; also of one window alone."""
    first, seed = inputs_BT[..., :8].astype(np.int64), int(weights[:8], 16)
    begin = (first * 31 ** np.arange(first.shape[-1])).sum(-1, keepdims=True)
    places = np.arange(targets_BT.shape[-1])
    mixed = begin * 7919 + places * 104729 + targets_BT.astype(np.int64) * 1299709 + seed
    return ((mixed % 4093) / 1024).astype(np.float32)


if __name__ == "__main__":
    import runpy

    loop.load_job = load_job
    runpy.run_module("jaxbpc.main", run_name="__main__", alter_sys=True)
