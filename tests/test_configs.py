"""The config files: every size of every family validates, the README's table is the code's."""

import importlib.util
import pathlib

import pytest

from jaxbpc import config as config_lib
from jaxbpc.models.families import FAMILIES

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_size(path):
    module = load(path)
    assert f"python -m jaxbpc.main --config configs/{path.name}" in module.__doc__
    config_lib.validate(module.get_config())
    for size in getattr(module, "PATHS", []):
        settings = config_lib.validate(module.get_config(size))
        assert settings.model_path == module.PATHS[size]
        assert settings.model_path.count("/") == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_size_that_is_none(path):
    module = load(path)
    if hasattr(module, "PATHS"):
        with pytest.raises(ValueError, match="unknown size"):
            module.get_config("9000b")


def test_readme_names_every_architecture():
    text = (ROOT / "README.md").read_text()
    chapter = text.split("\n## Models\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in chapter.splitlines() if line.startswith("| `")]
    rows = rows[1:]  # below the table's head
    named = [name.strip(" `") for row in rows for name in row[1].split(",")]
    assert sorted(named) == sorted(FAMILIES)
    for row in rows:
        assert all((ROOT / "configs" / f.strip(" `")).exists() for f in row[3].split(","))
