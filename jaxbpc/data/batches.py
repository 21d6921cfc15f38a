"""Windows → batches of a fixed shape, made ahead of the step in a thread.

Every process makes only the rows that its own devices hold, and every process makes the same
number of batches. The last batch is filled up with rows that do not count (index -1).
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Generator, Sequence

import jax
import numpy as np

from jaxbpc.data.windows import Plan

_AHEAD = 2


@dataclasses.dataclass(frozen=True)
class Batch:
    """One step's work. `inputs_BT` and `targets_BT`: int32 device arrays, sharded over the mesh.

    indices: [B] window of each row, -1 where the row does not count; rows: how many of the last
    positions are scored.
    """

    inputs_BT: jax.Array
    targets_BT: jax.Array
    indices: np.ndarray
    rows: int


def row(token_ids: np.ndarray, plan: Plan, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Window `index` as (inputs, targets), [block_size] int32 each; zeros where it is padding.

    A window shorter than a block is padded at its end, where a causal model's real positions
    cannot see it.
    """
    inputs, targets = np.zeros((2, plan.block_size), np.int32)
    if index >= 0:
        window = plan.window(index)
        ids = token_ids[window.begin : window.end].astype(np.int32)
        inputs[: window.n_inputs] = ids[:-1]
        targets[: window.n_inputs] = ids[1:]
    return inputs, targets


def steps(todo: Sequence[int], plan: Plan, batch_size: int) -> list[np.ndarray]:
    """Groups windows by how many rows they score, into arrays of `batch_size` filled with -1."""
    groups = []
    for first in (True, False):
        indices = [i for i in todo if (i == 0) == first]
        for k in range(0, len(indices), batch_size):
            group = np.full(batch_size, -1, np.int64)
            group[: len(indices[k : k + batch_size])] = indices[k : k + batch_size]
            groups.append(group)
    return groups


def batches(
    token_ids: np.ndarray,
    plan: Plan,
    todo: Sequence[int],
    batch_size: int,
    sharding: jax.sharding.Sharding,
) -> Generator[Batch, None, None]:
    """Yields the batches of the windows `todo`, the same number on every process.

    Args:
      token_ids: [N] ids of the stream.
      todo: indices of `plan.window`.
      batch_size: rows of a batch over the whole mesh.
      sharding: of [B, T] arrays.
    """

    def make(indices: np.ndarray) -> Batch:
        cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}

        def read(part: int, where: tuple[slice, ...]) -> np.ndarray:
            picked = []
            for i in range(*where[0].indices(len(indices))):
                if i not in cache:
                    cache[i] = row(token_ids, plan, int(indices[i]))
                picked.append(cache[i][part])
            return np.stack(picked)[:, where[1]]

        shape = (len(indices), plan.block_size)
        inputs_BT, targets_BT = (
            jax.make_array_from_callback(shape, sharding, functools.partial(read, part))
            for part in (0, 1)
        )
        rows = plan.rows(int(indices[0]))
        return Batch(inputs_BT, targets_BT, indices, rows)

    groups = steps(todo, plan, batch_size)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        futures = [thread.submit(make, group) for group in groups[:_AHEAD]]
        for k in range(len(groups)):
            if k + _AHEAD < len(groups):
                futures.append(thread.submit(make, groups[k + _AHEAD]))
            yield futures.pop(0).result()
