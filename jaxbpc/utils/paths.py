"""Paths, on this machine or in a bucket (gs://…), and the user's cache folder.

A path in a bucket is etils' epath.Path, which has the interface of pathlib's.
"""

import os
import pathlib
from typing import Any

from jaxbpc.errors import InputError


def cache_folder() -> pathlib.Path:
    """The user's cache of jaxbpc; the environment variable JAXBPC_CACHE overrides it."""
    import platformdirs

    return pathlib.Path(os.environ.get("JAXBPC_CACHE") or platformdirs.user_cache_dir("jaxbpc"))


def is_remote(path: str | pathlib.Path) -> bool:
    """Whether a path is in a bucket."""
    return "://" in str(path)


def place(path: str) -> Any:
    """A path, local or in a bucket."""
    if not is_remote(path):
        return pathlib.Path(os.path.expanduser(path))  # pathlib's raises for an unknown user
    from etils import epath

    try:
        return epath.Path(path)
    except KeyError:  # of its table of schemes
        raise InputError(
            f"{path}: nothing is known of such an address: give gs://… or a local path"
        )
