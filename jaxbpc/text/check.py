"""What is in a corpus."""

from absl import flags

from jaxbpc.errors import InputError

FLAGS = flags.FlagValues()


def main(arguments: list[str]) -> None:
    """A corpus."""
    raise InputError("not yet")
