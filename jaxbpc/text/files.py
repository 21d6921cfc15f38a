"""One's own text to a corpus."""

from absl import flags

from jaxbpc.errors import InputError

FLAGS = flags.FlagValues()


def main(arguments: list[str]) -> None:
    """Files, folders, globs and hub datasets."""
    raise InputError("not yet")
