"""The settings of a run: defaults that every `configs/*.py` starts from, and their validation.

A config is an `ml_collections.ConfigDict`, so that any field can be given on the command line as
`--config.window.stride=256`. `Settings` is the same, checked and frozen: what the rest of the
library sees.
"""

import dataclasses
import difflib
from collections.abc import Sequence

from ml_collections import config_dict

from jaxbpc.errors import InputError, holds_credentials

DTYPES = ("auto", "float32", "bfloat16")
ATTENTIONS = ("auto", "splash", "cudnn", "blocked", "xla")
_OWN_FILES = ("results.json", "runs.json", "series.json", "mirror.json")
MESH_AXES = ("data", "fsdp", "tensor")
# Three times War and Peace. A tokenizer takes 100 to 400 bytes of memory a character: some GB.
MAX_DOCUMENT_CHARACTERS = 10_000_000


def default() -> config_dict.ConfigDict:
    """The fields of a config with their defaults; a config file changes what it needs to."""
    config = config_dict.ConfigDict()

    config.model = model = config_dict.ConfigDict()
    # Hub id, or a folder with Hugging Face safetensors.
    model.path = ""
    # Hub id or folder; None: the model's.
    model.tokenizer = config_dict.placeholder(str)
    model.revision = config_dict.placeholder(str)
    # Of weights and activations: bfloat16 where the hardware has it, else float32. Norms, RoPE,
    # softmax and the loss are float32 always.
    model.dtype = "auto"
    # auto: splash on TPU, cudnn on GPU, blocked on CPU; or one of ATTENTIONS by name.
    model.attention = "auto"

    # How far the model was trained: carried into results, for curves and power laws. What is None
    # is taken from the revision's or folder's name (step1000), see `training_progress.of_name`.
    config.training = training = config_dict.ConfigDict()
    training.step = config_dict.placeholder(int)
    training.tokens = config_dict.placeholder(float)
    training.tokens_per_step = config_dict.placeholder(float)
    # None: 6 for each token and parameter that it goes through.
    training.flops = config_dict.placeholder(float)

    config.data = data = config_dict.ConfigDict()
    # Holds <corpus>.jsonl or <corpus>.json.
    data.dir = "data/llm-compression"
    data.corpora = ("commoncraw", "python", "arxiv_math")
    # First n rows of each corpus; None: all.
    data.samples = config_dict.placeholder(int)
    # The prompt: {column} fields of a row are filled in, once, in the template alone.
    data.template = "{content}"
    # A longer document is refused by its row: tokenising takes 100 to 400 bytes of memory for each.
    data.max_document_characters = MAX_DOCUMENT_CHARACTERS

    config.window = window = config_dict.ConfigDict()
    window.block_size = 1900
    window.stride = 512

    # Bits per character of gzip, xz and zstd beside the model's, made in the background.
    config.baselines = True

    # Windows a device a step; 0: chosen (1 on CPU, else 8).
    config.batch_per_device = 0

    # Devices along each axis of the mesh. All 0: chosen; one may be -1: the rest of the devices.
    config.mesh = mesh = config_dict.ConfigDict()
    mesh.data = 0
    mesh.fsdp = 0
    mesh.tensor = 0

    # Where numbers are followed, off by default: a folder of TensorBoard's, a project of W&B's.
    config.log = log = config_dict.ConfigDict()
    log.tensorboard = config_dict.placeholder(str)
    log.wandb = config_dict.placeholder(str)
    return config


def of_size(paths: dict[str, str], size: str) -> config_dict.ConfigDict:
    """The default config of one model of a family: `paths` has the hub id of each size.

    Raises:
      ValueError: unknown size; the message lists the sizes.
    """
    if size not in paths:
        raise ValueError(f"unknown size {size!r}; choose one of {', '.join(paths)}")
    config = default()
    config.model.path = paths[size]
    return config


@dataclasses.dataclass(frozen=True)
class Settings:
    """A validated config. Fields are those of `default()`, with groups joined by `_`."""

    model_path: str
    model_tokenizer: str
    model_revision: str | None
    model_dtype: str
    model_attention: str
    training_step: int | None
    training_tokens: float | None
    training_tokens_per_step: float | None
    training_flops: float | None
    data_dir: str
    data_corpora: tuple[str, ...]
    data_samples: int | None
    data_template: str
    data_max_document_characters: int
    window_block_size: int
    window_stride: int
    baselines: bool
    batch_per_device: int
    mesh: tuple[int, int, int]
    log_tensorboard: str | None
    log_wandb: str | None


def validate(config: config_dict.ConfigDict) -> Settings:
    """Checks every field of `config`; nothing is read from disk.

    Raises:
      InputError: an unknown field, a wrong type or an impossible value, named.
    """
    _check_fields(config.to_dict(), default().to_dict(), "config")
    _check_types(config.to_dict(), default(), "config")
    model, data, window = config.model, config.data, config.window
    if not model.path:
        raise InputError("config.model.path is empty: give a hub id or a model's folder")
    _check_choice("config.model.dtype", model.dtype, DTYPES)
    _check_choice("config.model.attention", model.attention, ATTENTIONS)
    corpora = _corpora(data.corpora)
    for name, value in config.training.items():
        if value is not None and not 0 <= value < float("inf"):
            raise InputError(f"config.training.{name} is {value}: give 0 or more")
    if data.samples is not None and data.samples < 1:
        raise InputError(f"config.data.samples is {data.samples}: give a positive number of rows")
    if data.max_document_characters < 1:
        raise InputError(
            f"config.data.max_document_characters is {data.max_document_characters}: give a "
            "positive number"
        )
    if window.block_size < 1 or not 1 <= window.stride <= window.block_size:
        raise InputError(
            f"config.window.stride is {window.stride} with block_size {window.block_size}: "
            "give a stride from 1 to block_size, so that each token is scored once"
        )
    if config.batch_per_device < 0:
        raise InputError(f"config.batch_per_device is {config.batch_per_device}: give 0 or more")
    return Settings(
        model_path=model.path,
        model_tokenizer=model.tokenizer or model.path,
        model_revision=model.revision,
        model_dtype=model.dtype,
        model_attention=model.attention,
        **{f"training_{name}": config.training[name] for name in config.training},
        data_dir=data.dir,
        data_corpora=corpora,
        data_samples=data.samples,
        data_template=data.template,
        data_max_document_characters=data.max_document_characters,
        window_block_size=window.block_size,
        window_stride=window.stride,
        baselines=config.baselines,
        batch_per_device=config.batch_per_device,
        mesh=_mesh_sizes(config.mesh),
        log_tensorboard=config.log.tensorboard,
        log_wandb=config.log.wandb,
    )


def _corpora(given: Sequence[str]) -> tuple[str, ...]:
    """The names of `data.corpora`, of which an entry may hold several."""
    corpora = tuple(n.strip() for entry in given for n in entry.split(",") if n.strip())
    if not corpora:
        raise InputError("config.data.corpora is empty: name at least one corpus of data.dir")
    for name in corpora:
        ours = name.startswith(".") or name in _OWN_FILES
        if corpora.count(name) > 1 or "/" in name or "\\" in name or ours:
            raise InputError(
                f"config.data.corpora has {name!r}: give the names of files in data.dir, each once "
                f"({', '.join(_OWN_FILES)} are names of the run's own files)"
            )
    return corpora


def _mesh_sizes(mesh: config_dict.ConfigDict) -> tuple[int, int, int]:
    """The devices along each of the mesh's axes."""
    sizes = tuple(int(mesh[axis]) for axis in MESH_AXES)
    for axis, size in zip(MESH_AXES, sizes, strict=True):
        if size < -1:
            raise InputError(f"config.mesh.{axis} is {size}: give a number of devices, 0 or -1")
    if sizes.count(-1) > 1:
        raise InputError("config.mesh has more than one -1: the rest of the devices is one number")
    return sizes  # type: ignore[return-value]


def unknown_field(name: str, known: list[str], where: str) -> InputError:
    """The error for a field that does not exist, naming the nearest one that does."""
    near = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {where}.{near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return InputError(f"{where}.{name} does not exist: {remedy}")


def _check_fields(given: dict, known: dict, where: str) -> None:
    """Refuses fields of `given` that `known` lacks, and the reverse."""
    for name, value in given.items():
        if name not in known:
            raise unknown_field(name, list(known), where)
        if isinstance(known[name], dict):
            if not isinstance(value, dict):
                raise InputError(f"{where}.{name} is {value!r}: it is a group of fields")
            _check_fields(value, known[name], f"{where}.{name}")
    for name in known:
        if name not in given:
            raise InputError(f"{where}.{name} is missing: start from jaxbpc.config.default()")


def _check_types(given: dict, known: config_dict.ConfigDict, where: str) -> None:
    """Refuses values of another type than the default's (placeholders know theirs)."""
    for name, value in given.items():
        expected = known.get_type(name)
        if expected is config_dict.ConfigDict:
            _check_types(value, known[name], f"{where}.{name}")
            continue
        if value is None and known[name] is None:
            continue
        if expected is tuple and isinstance(value, list):
            value = tuple(value)
        if type(value) is int and value >= 2**31:
            raise InputError(f"{where}.{name} is {value}: give a number below 2147483648")
        if isinstance(value, str) and holds_credentials(value):
            raise InputError(
                f"{where}.{name} holds credentials, which results.json and the log would show: "
                "give them in the environment (HF_TOKEN), or by `hf auth login`"
            )
        if type(value) is not expected or (
            expected is tuple and not all(isinstance(v, str) for v in value)
        ):
            raise InputError(f"{where}.{name} is {value!r}: its type is {expected.__name__}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{name} is {value!r}: give one of {', '.join(choices)}{hint}")
