"""BPC of a model in training: its live parameters over a token stream, between two steps.

The idea: what changes from call to call, the parameters, is data, so the step is compiled once;
what computes with them is a function that stays the same. Both are one pytree: a module of Flax NNX
or Equinox, or `jax.tree_util.Partial(function, parameters)`. Parameters stay where they are.
"""

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxbpc
from jaxbpc.analysis import bootstrap, metrics
from jaxbpc.data import batches
from jaxbpc.data.tokens import TokenStream
from jaxbpc.data.windows import Plan
from jaxbpc.errors import InputError, NumberError
from jaxbpc.evaluation import layout
from jaxbpc.evaluation.step import Step
from jaxbpc.models.lm_head import Head
from jaxbpc.parallel import sharding
from jaxbpc.run import results
from jaxbpc.run.results import CorpusResult, Results

Function = Callable[[jax.Array], jax.Array]
TRAINING = ("step", "tokens", "flops")  # what `write` reports of a training


def score(
    hidden: Function,
    head: Head | jax.Array | Function,
    stream: TokenStream,
    mesh: jax.sharding.Mesh,
    window: tuple[int, int] = (1900, 512),
    batch_per_device: int = 0,
) -> CorpusResult:
    """BPC, nats and counts of `stream`: those of a run over the same weights, text and window.

    Every process of a job calls it and gets the result. It is compiled at the first call, and again
    only for other functions, shapes or shardings: a function made anew for each call is another.

    Args:
      hidden: a pytree that holds the parameters and is called: tokens_BT (int32) → the states that
        the head takes, [B, T, D]; causal. A function with its parameters is
        `jax.tree_util.Partial(function, parameters)`.
      head: a matrix [V, D] (a Flax kernel, [D, V], is transposed); a `Head`; or a pytree as
        `hidden` is: states [B, R, D] → logits [B, R, V].
      stream: of `data.tokens.stream` (a file, by a Hugging Face tokenizer) or `tokens.of_texts`.
      mesh: where the parameters are. A batch is split over its axes `data` and `fsdp`; where it has
        neither, over its first axis.
      window: (block_size, stride).
      batch_per_device: windows a device a step; 0: 1 on a CPU, 2 on a TPU, 8 on a GPU.

    Raises:
      InputError: no parameters in `hidden`, another shape than these, ids beyond the head's.
      NumberError: a loss that is not finite.
    """
    plan = Plan(len(stream.token_ids), *window)
    if not isinstance(mesh, jax.sharding.Mesh):
        raise InputError(f"mesh is {type(mesh).__name__}: give the mesh that the parameters are on")
    if isinstance(head, jax.Array | np.ndarray):
        head = Head(jnp.asarray(head))
    vocab_size = _vocab_size(hidden, head, mesh, plan.block_size)
    if stream.max_id >= vocab_size:
        raise InputError(f"the stream has id {stream.max_id}, the head {vocab_size} logits")
    axes = [name for name in sharding.RULES["batch"][0] if name in mesh.shape]
    axes = axes or list(mesh.axis_names[:1])
    n_shards = math.prod(mesh.shape[name] for name in axes)
    most = batch_per_device or layout.BATCH.get(mesh.devices.flat[0].platform, 8)
    batch_size = n_shards * max(1, min(most, -(-plan.n_all_windows // n_shards)))
    split = NamedSharding(mesh, PartitionSpec(tuple(axes), None))
    nll = _nll((hidden, head), stream, plan, batch_size, split)
    subsets = metrics.by_subset(nll, plan, stream.documents, stream.subsets)
    result = metrics.corpus_result(
        nll, plan, stream.counts, stream.bos, vocab_size, stream.audit, subsets
    )
    return bootstrap.added(result, bootstrap.per_document(nll, stream.documents))


def _nll(params, stream: TokenStream, plan: Plan, batch_size: int, split) -> np.ndarray:
    """[N] float32 nats of each token; step i is dispatched before i-1 is fetched."""
    step = _step(split.mesh)
    nll = np.full(plan.n_tokens, np.nan, np.float32)
    in_flight: list[tuple[np.ndarray, jax.Array]] = []

    def fetch() -> None:
        indices, nll_BC = in_flight.pop(0)
        for index, values in zip(indices, np.asarray(nll_BC), strict=True):
            if index >= 0:
                window = plan.window(int(index))
                values = values[: len(values) - (plan.block_size - window.n_inputs)]
                nll[window.first_scored : window.end] = values[-window.n_scored :]

    todo = range(plan.n_all_windows)
    for batch in batches.batches(stream.token_ids, plan, todo, batch_size, split):
        output = step(params, batch.inputs_BT, batch.targets_BT, batch.rows)
        in_flight.append((batch.indices, output))
        if len(in_flight) > 1:
            fetch()
    while in_flight:
        fetch()
    bad = np.flatnonzero(~np.isfinite(nll[1:])) + 1
    if len(bad):
        document = int(np.searchsorted(stream.documents[:, 0], bad[0], side="right")) - 1
        raise NumberError(
            f"the loss is not finite at {len(bad)} of {plan.n_tokens} tokens; token {bad[0]}, row "
            f"{stream.documents[document, 3]} (from 0), is the first"
        )
    return nll


@functools.lru_cache(maxsize=8)
def _step(mesh: jax.sharding.Mesh) -> Step:
    """The step of any (hidden, head) on a mesh; jit keeps what it compiles for each."""
    if AxisType.Explicit in mesh.axis_types:
        raise InputError(
            "the mesh has explicit axes: make it with axis_types=(jax.sharding.AxisType.Auto,) * "
            f"{len(mesh.axis_names)}, and the parameters' shardings on it"
        )

    def at_last(params, tokens_BT: jax.Array, rows: int) -> jax.Array:
        return params[0](tokens_BT)[:, tokens_BT.shape[1] - rows :]

    return Step(at_last, lambda params: params[1], mesh)


def _vocab_size(hidden, head, mesh: jax.sharding.Mesh, block_size: int) -> int:
    """How many logits there are. Raises InputError where functions are not as they should be."""
    if not any(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(hidden)):
        raise InputError(
            "hidden has no parameters in it: they would be compiled into the step, and their later "
            "values not be seen; give jax.tree_util.Partial(function, parameters)"
        )
    if any(callable(leaf) for leaf in jax.tree.leaves(head)):
        raise InputError(
            "head is a plain function: give jax.tree_util.Partial(function, its parameters)"
        )
    tokens_BT = jax.ShapeDtypeStruct((1, block_size), jnp.int32)
    with jax.set_mesh(mesh):
        h_BTD = jax.eval_shape(lambda hidden, tokens: hidden(tokens), hidden, tokens_BT)
        _check_shape("hidden", h_BTD, f"tokens (1, {block_size}): give [B, T, D]", block_size)
        if isinstance(head, Head):
            shape, size = head.weight_VD.shape, h_BTD.shape[-1]
            if len(shape) != 2 or shape[1] != size:
                raise InputError(
                    f"head is {shape}, but hidden gives {size} numbers a position: give "
                    f"[V, {size}]; a kernel [{size}, V] is transposed"
                )
            return shape[0]
        logits = jax.eval_shape(lambda head, h: head(h), head, h_BTD)
    _check_shape("head", logits, f"states {h_BTD.shape}: give [B, R, V]", block_size)
    return logits.shape[-1]


def _check_shape(name: str, made, given: str, block_size: int) -> None:
    shape = getattr(made, "shape", None)
    if shape is None or len(shape) != 3 or shape[:2] != (1, block_size):
        raise InputError(f"{name} gives {shape or type(made).__name__} for {given}")


def write(
    folder: str | pathlib.Path,
    corpora: dict[str, CorpusResult],
    window: tuple[int, int],
    parameters: Any,
    training: dict[str, Any],
) -> None:
    """Writes `folder/results.json`: of folders side by side `jaxbpc.report` and `fit` make a curve.

    Args:
      corpora: what `score` gave, by the corpus's name.
      parameters: of the model, a pytree.
      training: `step`, `tokens` seen, `flops`, as far as they are known; numbers of any library.

    Raises:
      InputError: it cannot be written, or `training` has something else in it.
    """
    folder = pathlib.Path(folder)
    leaves = jax.tree.leaves(parameters)
    model = {
        "path": str(folder),
        "architecture": "live",
        "parameters": sum(int(np.size(leaf)) for leaf in leaves),
        "dtype": str(jnp.result_type(*leaves)) if leaves else "",
        "vocab_size": None,
        "weights_fingerprint": None,
        "tokenizer_fingerprint": None,
    }
    found = Results(
        model=model,
        window=dict(zip(("block_size", "stride"), window, strict=True)),
        corpora=corpora,
        average_bpc=metrics.average_bpc(result.bpc for result in corpora.values()),
        runs=[],
        speed={},
        config={},
        environment={"jaxbpc": jaxbpc.__version__, "jax": jax.__version__},
        fingerprint="",
        weighted_bpc=metrics.weighted_bpc(corpora.values()),
        training=dict.fromkeys(TRAINING) | _numbers(training),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{folder}: cannot be made ({e.strerror}): give another folder")
    results.write(folder / "results.json", found)


def _numbers(training: dict[str, Any]) -> dict[str, int | float | None]:
    """Python's own numbers. Raises InputError naming what is none."""
    found: dict[str, int | float | None] = {}
    for name, value in training.items():
        if name not in TRAINING:
            raise InputError(f"training has {name!r}: it may have {', '.join(TRAINING)}")
        number = value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if number is not None and not (is_number and math.isfinite(number) and number >= 0):
            raise InputError(f"training.{name} is {value!r}: give a number, or None")
        found[name] = number
    return found
