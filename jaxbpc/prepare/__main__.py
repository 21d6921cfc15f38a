"""Brings corpora to a folder, and looks at them.

  python -m jaxbpc.prepare paper          the paper's three corpora, from the hub
  python -m jaxbpc.prepare files IN …     your own text: folders, files, hub datasets
  python -m jaxbpc.prepare fresh KIND …   text newer than a model: git, arXiv, Common Crawl
  python -m jaxbpc.prepare check CORPUS   what is in a corpus, and what two have in common

Each has its own flags: `python -m jaxbpc.prepare files --help`.
"""

import importlib
import sys

from jaxbpc import cli
from jaxbpc.errors import InputError

VERBS = ("paper", "files", "fresh", "check")


def main(arguments: list[str]) -> None:
    """Reached without a verb alone."""
    raise InputError(f"give one of: {', '.join(VERBS)}; see --help")


if __name__ == "__main__":
    # A verb is a module of this package with FLAGS, its own, and main(the other arguments).
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in VERBS:
        module = importlib.import_module(f"jaxbpc.prepare.{verb}")
        cli.run(lambda rest: module.main(rest[1:]), module.__doc__ or "", True, module.FLAGS)
    else:
        cli.run(main, __doc__, positional=True)
