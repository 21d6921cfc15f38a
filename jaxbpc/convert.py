"""Converts models to what jaxbpc reads.

  python -m jaxbpc.convert gguf FILE OUT

gguf   a GGUF file to a Hugging Face folder OUT, float32; needs the gguf package. Architectures
       llama, qwen2, qwen3 and gemma3 (text) in every quantisation; byte-level BPE with a known
       pre-tokenizer, or SentencePiece. What could change the model and is not known is refused.
"""

import pathlib
import sys

from jaxbpc import cli
from jaxbpc.errors import InputError


def main(arguments: list[str]) -> None:
    """`gguf FILE OUT`."""
    if len(arguments) != 3 or arguments[0] != "gguf":
        raise InputError("give: gguf FILE OUT; see --help")
    from jaxbpc.weights import gguf

    gguf.convert(pathlib.Path(arguments[1]), pathlib.Path(arguments[2]))
    print(f"wrote {arguments[2]}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main, __doc__, positional=True)
