"""All that a run needs before its first step: read, checked, chosen; then loaded and compiled.

A `Job` is everything but the weights, so that what the user can fix shows before they are read.
"""

import concurrent.futures
import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Hashable, Iterator
from typing import Any

import jax

import jaxbpc
from jaxbpc import config as config_lib
from jaxbpc.checkpoint import load, locate, pip_model
from jaxbpc.data import corpora, tokens, windows
from jaxbpc.errors import InputError
from jaxbpc.evaluation import layout as layout_lib
from jaxbpc.evaluation import step as step_lib
from jaxbpc.evaluation import tracking, training_progress
from jaxbpc.models import costs
from jaxbpc.models.decoder import Decoder, n_parameters
from jaxbpc.parallel import distributed, sharding
from jaxbpc.run import record
from jaxbpc.utils import paths
from jaxbpc.utils.progress import Bar

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a run needs but the weights: read, checked, chosen. Dicts go by corpus.

    files: `locate.files_state` of the checkpoint before anything of it was read.
    """

    settings: config_lib.Settings
    layout: layout_lib.Layout
    checkpoint: load.Checkpoint
    files: str | None
    tokenizer_fingerprint: str
    streams: dict[str, tokens.TokenStream]
    plans: dict[str, windows.Plan]
    tokenize_s: float

    @property
    def training(self) -> dict[str, Any]:
        """How far the model was trained, see `training_progress.of`."""
        flops = costs.training_flops(self.checkpoint.arch)
        return training_progress.of(self.settings, flops)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model on its mesh, its compiled steps by how many rows they score, and what they took."""

    model: Decoder
    steps: dict[int, jax.stages.Compiled]
    weights_fingerprint: str
    load_s: float
    compile_s: float


@dataclasses.dataclass
class Shared:
    """What runs of models that are alike have in common.

    steps: compiled, by what they are of. tracker: of the series; None: each run makes its own.
    """

    steps: dict[Hashable, dict[int, jax.stages.Compiled]] = dataclasses.field(default_factory=dict)
    tracker: tracking.Tracker | None = None


@contextlib.contextmanager
def tracked(
    settings: config_lib.Settings, folder: pathlib.Path, shared: Shared | None = None
) -> Iterator[tracking.Tracker]:
    """The tracker that logs a run: the series', or its own; only the writer logs."""
    if shared and shared.tracker:
        yield shared.tracker
    elif distributed.is_writer():
        with tracking.opened(settings, folder) as tracker:
            yield tracker
    else:
        yield tracking.Tracker()


def open_job(settings: config_lib.Settings) -> Job:
    """Reads and checks everything but the weights. Raises InputError."""
    if distributed.is_writer():
        tracking.check(settings)
    files = {name: corpora.find(settings.data_dir, name) for name in settings.data_corpora}
    sharding.mesh_shape(settings.mesh, jax.device_count())
    folder = _folder(settings.model_path, settings, weights=True)
    state = locate.files_state(str(folder))
    checkpoint = load.open_checkpoint(folder)
    tokenizer = tokenizer_folder(settings)
    layout = layout_lib.choose(settings, checkpoint.arch, checkpoint.own_head)
    size = (checkpoint.arch, checkpoint.own_head, settings.window_block_size)
    layout_lib.check_memory(layout.at_most(1), *size)
    if warning := layout_lib.check_positions(checkpoint.arch, settings.window_block_size):
        log.warning("%s: %s", settings.model_path, warning)
    began = time.monotonic()
    streams = {name: _stream(settings, path, tokenizer) for name, path in files.items()}
    tokenize_s = time.monotonic() - began
    for name, stream in streams.items():
        if stream.max_id >= checkpoint.arch.vocab_size:
            raise InputError(
                f"{tokenizer}: gives id {stream.max_id} on {name}, the model's vocabulary has "
                f"{checkpoint.arch.vocab_size}: give the model's own --config.model.tokenizer"
            )
    block_size, stride = settings.window_block_size, settings.window_stride
    plans = {n: windows.Plan(len(s.token_ids), block_size, stride) for n, s in streams.items()}
    layout = layout.at_most(max(plan.n_all_windows for plan in plans.values()))
    layout_lib.check_memory(layout, *size)
    fingerprint = tokens.tokenizer_fingerprint(tokenizer)
    return Job(settings, layout, checkpoint, state, fingerprint, streams, plans, tokenize_s)


def load_job(job: Job, shared: Shared | None = None) -> Loaded:
    """Loads the weights while the steps are compiled, but those in `shared`. Raises InputError."""
    layout, plans = job.layout, job.plans.values()
    how = (layout.dtype, layout.mesh, layout.attention)
    model = load.abstract(job.checkpoint, *how, layout.stacked)
    log.info(
        "%s: %s, %.4g M parameters in %s, mesh %s, %d window(s) a step%s",
        job.settings.model_path,
        job.checkpoint.architecture,
        n_parameters(model) / 1e6,
        layout.dtype,
        " ".join(f"{axis}={size}" for axis, size in layout.mesh.shape.items()),
        layout.batch_size,
        f", {layout.steps_at_once} steps at once" if layout.steps_at_once > 1 else "",
    )
    step = step_lib.Step(Decoder.hidden, Decoder.output, layout.mesh)
    shape = (layout.batch_size, job.settings.window_block_size)

    def compile_step(rows: int) -> tuple[jax.stages.Compiled, float]:
        began = time.monotonic()
        return step.compile(model, shape, rows), time.monotonic() - began

    alike = (job.checkpoint.arch, job.checkpoint.own_head, *how, layout.stacked, shape)
    steps = (shared or Shared()).steps.setdefault(alike, {})
    rows = {plan.rows(i) for plan in plans for i in range(min(plan.n_all_windows, 2))}
    rows -= steps.keys()
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool, out_of_memory(layout):
        compiling = {n: pool.submit(compile_step, n) for n in rows}
        show = distributed.is_writer()
        with Bar("loading", "B", load.n_bytes(job.checkpoint), show=show) as bar:
            loaded, weights = load.load(job.checkpoint, *how, bar.update, layout.stacked)
        load_s = time.monotonic() - began
        compiled = {n: future.result() for n, future in compiling.items()}
    compile_s = max((seconds for _, seconds in compiled.values()), default=0.0)
    steps |= {n: executable for n, (executable, _) in compiled.items()}
    if step.platform == "cpu":
        step_lib.keep_freed_memory(steps.values())
    return Loaded(loaded, steps, weights, load_s, compile_s)


def not_loaded(job: Job, weights: str) -> Loaded:
    """What `load_job` returns, but neither arrays nor steps: for a run that scores nothing.

    Args:
      weights: the fingerprint that loading would give.
    """
    log.info("%s: all is scored and its files are the same: not loaded", job.settings.model_path)
    layout = job.layout
    how = (layout.dtype, layout.mesh, layout.attention, layout.stacked)
    return Loaded(load.abstract(job.checkpoint, *how), {}, weights, load_s=0.0, compile_s=0.0)


def _folder(path: str, settings: config_lib.Settings, weights: bool) -> pathlib.Path:
    """The local folder of a model or tokenizer, downloaded where it must be."""
    if path.startswith(pip_model.PREFIX):
        return pip_model.resolve(path, paths.cache_folder())
    return locate.resolve(path, settings.model_revision, weights)


def tokenizer_folder(settings: config_lib.Settings) -> pathlib.Path:
    """The local folder of the tokenizer. Raises InputError."""
    folder = _folder(settings.model_tokenizer, settings, weights=False)
    return locate.holder(folder, *locate.TOKENIZERS)


def _stream(settings: config_lib.Settings, path: pathlib.Path, tokenizer: pathlib.Path):
    """A corpus's tokens, with a bar where they are not in the cache."""
    with Bar(f"tokenising {path.stem}", "ch", show=distributed.is_writer()) as bar:
        stream = tokens.stream(
            path,
            tokenizer,
            paths.cache_folder(),
            settings.data_samples,
            settings.data_template,
            bar.update,
            settings.data_max_document_characters,
        )
    if not stream.characters:
        raise InputError(f"{path}: no text in it: give a corpus with rows of `content`")
    return stream


def identity(job: Job, weights: str) -> dict[str, Any]:
    """What must be the same for a run to go on: everything that the numbers depend on.

    Args:
      weights: the fingerprint of the weights.
    """
    settings = job.settings
    return {
        "record_version": record.VERSION,
        "weights": weights,
        "arch": load.architecture_hash(job.checkpoint.arch),
        "tokenizer": job.tokenizer_fingerprint,
        "dtype": str(job.layout.dtype),
        "block_size": settings.window_block_size,
        "stride": settings.window_stride,
        "samples": settings.data_samples,
        "template": settings.data_template,
        "corpus_sha256": {name: stream.corpus_sha256 for name, stream in job.streams.items()},
    }


def check_same(job: Job) -> None:
    """Refuses processes that would not run the same program: before they load, not in it.

    Raises:
      InputError: names what is not the same on every process.
    """
    layout, fields = job.layout, identity(job, weights="")
    corpora_sha256 = fields.pop("corpus_sha256")
    fields |= {f"corpus {name!r}": sha256 for name, sha256 in corpora_sha256.items()}
    # Another version of the tokenizer's library may give other ids of equal files.
    fields["tokens"] = [len(stream.token_ids) for stream in job.streams.values()]
    fields |= {"corpora": list(job.streams), "mesh": dict(layout.mesh.shape)}
    fields |= {"batch_per_device": layout.batch_per_device, "attention": layout.attention}
    fields |= {"versions": [jaxbpc.__version__, jax.__version__]}
    distributed.check_same(fields)


@contextlib.contextmanager
def out_of_memory(layout: layout_lib.Layout) -> Iterator[None]:
    """Turns a device's out-of-memory into what the user can do about it."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as e:
        if not isinstance(e, MemoryError) and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        raise InputError(
            f"the devices' memory is too small for the model and {layout.batch_per_device} "
            "window(s) each: give a smaller --config.batch_per_device, more devices to "
            "--config.mesh.fsdp, or --config.model.dtype=bfloat16"
        )
