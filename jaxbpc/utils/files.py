"""Files that are whole or not there: atomic JSON, with a checksum where it must not lie.

A reader, a crash or a power cut sees the old file or the new one, never a part.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
from typing import Any

from jaxbpc.errors import InputError


def fingerprint(fields: dict[str, Any]) -> str:
    """SHA-256 of `fields` as canonical JSON, in hex: equal fields, equal fingerprint."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON so that a reader, a crash or a power cut leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as e:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path}: cannot be written ({e.strerror}): fix that and start the same command "
            "again, what is scored is kept"
        )


def write_checked(path: pathlib.Path, fields: dict[str, Any]) -> None:
    """Writes fields as JSON with a checksum at the end, for `read_checked`."""
    write_json(path, {**fields, "checksum": fingerprint(fields)})


def read_checked(path: pathlib.Path, remedy: str) -> dict[str, Any]:
    """The fields that `write_checked` wrote. Raises InputError with the file and a remedy."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if "checksum" not in fields:
            raise ValueError("it has no checksum, as another version of jaxbpc wrote it")
        if fields.pop("checksum") != fingerprint(fields):
            raise ValueError("wrong checksum: it is damaged, or was edited")
        return fields
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise InputError(f"{path}: cannot be read ({reason(e)}): {remedy}")


def sync(folder: pathlib.Path) -> None:
    """Returns when what was made or renamed in a folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason(error: Exception) -> str:
    """An error's text, short; of TensorStore's long ones about files, what the system said."""
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    return " ".join(str(error).split())[:300] or type(error).__name__


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text, and makes its folder. Raises InputError naming the file."""
    make_folder(path.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror}): give another name")


def make_folder(path: pathlib.Path) -> None:
    """Makes a folder and those above it. Raises InputError naming it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{path}: cannot be made ({e.strerror}): give another folder")
