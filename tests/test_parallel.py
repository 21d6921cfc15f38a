"""Work over processes: in order, not far ahead, and told when a process dies."""

import os
import signal
import sys

import pytest

from jaxbpc.errors import InputError
from jaxbpc.prepare.readers import decode
from jaxbpc.utils import processes


def work(piece, argument):
    """Doubles a number; ends its process at 'die'; refuses 'bad'."""
    if piece == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if piece == "bad":
        raise InputError("piece 'bad': fix it")
    return piece * 2 + argument


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.long)])
def test_results_come_in_order_and_pieces_are_not_read_far_ahead(workers):
    taken = []

    def pieces():
        for i in range(50):
            taken.append(i)
            yield i

    for n, result in enumerate(processes.ordered(work, pieces(), 1, workers)):
        assert result == 2 * n + 1
        assert len(taken) <= n + 2 * workers + 1
    assert len(taken) == 50


@pytest.mark.long
def test_a_worker_that_dies_or_refuses():
    with pytest.raises(InputError, match=r"a worker was killed.*--workers"):
        list(processes.ordered(work, [1, "die", 2], 0, 2))
    with pytest.raises(InputError, match="piece 'bad': fix it"):
        list(processes.ordered(work, [1, "bad", 2], 0, 2))


@pytest.mark.parametrize("name", ["rensa", "py3langid", "trafilatura", "charset_normalizer"])
def test_a_library_that_is_not_installed(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"{name} is not installed: .*jaxbpc\[text\]"):
        decode.needed(name)
