"""`series.json`: what a series of checkpoints tells of each of them."""

import json
import pathlib
from typing import Any

FILE = "series.json"


def entries(folder: pathlib.Path) -> list[dict[str, Any]]:
    """What `series.json` tells of each checkpoint; none where it cannot be read."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))["checkpoints"]
        return [
            {**c, "name": str(c["name"]), "state": str(c["state"])} for c in told if "error" in c
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
