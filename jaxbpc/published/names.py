"""What a model is called: short names, and the published tables' of a name or hub id."""

import functools
import re

from jaxbpc import published


def model_name(path: str) -> str:
    """The short name of a model: the last part of its hub id or folder, or a file's stem."""
    parts = [part for part in re.sub(r"#.*", "", path).replace("\\", "/").split("/") if part]
    for part in parts:  # the hub's cache: models--OWNER--NAME/snapshots/HASH
        if part.startswith("models--"):
            return part.split("--")[-1]
    return re.sub(r"\.(gguf|safetensors)$", "", parts[-1]) if parts else path


def same_name(one: str, other: str) -> bool:
    """Whether two names differ in case and punctuation alone."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())


@functools.cache
def published_name(name: str) -> str | None:
    """What the published tables call a model of that name or hub id; None: they have no such."""
    tables = {model.name: model.names for model in published.models()}
    tables |= {model: (model, hub_id) for model, hub_id in published.OFF_LEADERBOARD.items()}
    given = {name, model_name(name)}
    for model, names in tables.items():
        aliases = {*names, *map(model_name, names)}
        if any(same_name(n, alias) for n in given for alias in aliases):
            return model
    return None
