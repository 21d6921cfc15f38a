"""--config: fields from the command line, None among them; every fault of a file in one line."""

import json
import subprocess
import sys

import pytest

GOOD = """
from jaxbpc import config as config_lib
def get_config(path="m"):
    config = config_lib.default()
    config.model.path, config.model.tokenizer, config.data.samples = path, "t", 5
    return config
"""
SHOW = "from jaxbpc import cli, main; cli.run(lambda: print(main._CONFIG.value.to_json()), 'help')"


def show(tmp_path, content, *flags):
    """Parses flags after a config file of this content; the config on stdout."""
    (tmp_path / "a.py").write_text(content)
    command = [sys.executable, "-c", SHOW, "--config", "a.py", *flags]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("flags", "tokenizer", "samples"),
    [
        ([], "t", 5),
        (["--config.data.samples=None"], "t", None),
        (["--config.model.tokenizer", "None", "--config.data.samples=7"], None, 7),
        (["--config.data.samples=None", "--config.data.samples=8"], "t", 8),
        (["--config.data.samples=8", "-config.data.samples=None"], "t", None),
        (["--config.model.revision=None", "--config.model.revision=main"], "t", 5),
    ],
)
def test_none_on_the_command_line(tmp_path, flags, tokenizer, samples):
    done = show(tmp_path, GOOD, *flags)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    assert (config["model"]["tokenizer"], config["data"]["samples"]) == (tokenizer, samples)
    assert config["model"]["revision"] == ("main" if "main" in str(flags) else None)


def test_the_last_of_a_list_counts(tmp_path):
    flags = ["--config.data.corpora=aa,bb", "--config.data.dir=d", "--config.data.corpora", "aa,cc"]
    done = show(tmp_path, GOOD, *flags)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert (data["corpora"], data["dir"]) == (["aa,cc"], "d")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1", ["a.py has no function get_config()"]),
        ("def get_config(): pass", ["a.py: get_config() returned NoneType"]),
        ("def get_config(): return {}", ["a.py: get_config() returned dict"]),
        ("import sys\ndef get_config(): sys.exit(0)", ["a.py, line 2: ends the program"]),
        ("raise SystemExit", ["a.py, line 1: ends the program"]),
        ("def get_config(:", ["a.py, line 1: SyntaxError"]),
        ("import nonsense", ["a.py, line 1: ModuleNotFoundError", "nonsense"]),
        ("def get_config(): open('b')", ["a.py, line 1: FileNotFoundError", "'b'"]),
        ("def get_config(x): pass", ["a.py: TypeError", "'x'"]),
        ("\nraise ValueError('b\\nc')", ["a.py, line 2: ValueError: b c"]),
        (GOOD.replace("return", "config.windw.stride = 1; return"), ["a.py, line 6", "window"]),
    ],
)
def test_faults(tmp_path, content, words):
    done = show(tmp_path, content)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_a_file_that_is_not_there(tmp_path):
    done = show(tmp_path, GOOD, "--config=b.py")
    assert done.returncode == 2
    assert done.stderr.startswith("error: b.py is no file")
