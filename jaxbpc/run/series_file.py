"""`series.json`: the state of each checkpoint of a series."""

import json
import pathlib
from typing import Any

FILE = "series.json"


def entries(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The entries of `series.json`, one per checkpoint; none where it cannot be read."""
    try:
        listed = json.loads((folder / FILE).read_text(encoding="utf-8"))["checkpoints"]
        return [
            {**c, "name": str(c["name"]), "state": str(c["state"])} for c in listed if "error" in c
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
