"""The commands themselves: exit status, one line of error, fast help."""

import subprocess
import sys

import pytest


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", ["main", "convert", "prepare"])
def test_help(module):
    done = command(f"jaxbpc.{module}", "--help")
    assert done.returncode == 0
    assert f"python -m jaxbpc.{module}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jaxbpc.main"], "--config is missing"),
        (["jaxbpc.main", "--config=absent.py"], "absent.py"),
        (["jaxbpc.main", "--config=configs/llama.py:9b"], "sizes are"),
        (["jaxbpc.main", "--config=configs/llama.py", "--config.window.strid=3"], "stride"),
        (["jaxbpc.main", "--config=configs/llama.py", "--config.window.stride=x"], "stride"),
        (["jaxbpc.main", "--config=configs/llama.py", "--config.window.stride=0"], "stride is 0"),
        (["jaxbpc.main", "--config=configs/llama.py"], "jaxbpc.prepare paper"),
        (["jaxbpc.main", "--nonsense"], "nonsense"),
        (["jaxbpc.convert", "gguf", "absent.gguf", "out"], "absent.gguf does not exist"),
        (["jaxbpc.convert"], "gguf FILE OUT"),
        (["jaxbpc.prepare", "nonsense"], "give: paper"),
    ],
)
def test_bad_input(arguments, message):
    done = command(*arguments)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
