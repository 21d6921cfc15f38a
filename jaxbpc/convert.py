"""Converts models to what jaxbpc reads.

  python -m jaxbpc.convert gguf FILE OUT
  python -m jaxbpc.convert orbax SRC OUT [--dtype bfloat16|float32] [--revision REVISION]

gguf    a GGUF file to a Hugging Face folder OUT, float32; needs the gguf package. Architectures
        llama, qwen2, qwen3 and gemma3 (text) in every quantisation; byte-level BPE with a known
        pre-tokenizer, or SentencePiece. What could change the model and is not known is refused.
orbax   any model that can be scored (hub id or folder) to a sharded Orbax checkpoint OUT, with
        config.json and the tokenizer: read by many hosts from one place, each its part

--dtype      of the weights (default: as they are stored; quantised ones stay so)
--revision   of a hub id
--distributed, --coordinator_address, --num_processes, --process_id   as of jaxbpc.main; OUT is then
             on a file system that all processes share
"""

import os
import pathlib
import sys

from absl import flags

from jaxbpc import cli
from jaxbpc.errors import InputError
from jaxbpc.parallel import flags as parallel_flags

_DTYPE = flags.DEFINE_enum("dtype", None, ["bfloat16", "float32"], "of the weights")
_REVISION = flags.DEFINE_string("revision", None, "hub revision")

# Tensors are written in as many parts, each in smaller ones: those of rows for any mesh to read.
_N_DEVICES = 8


def main(arguments: list[str]) -> None:
    """`gguf FILE OUT` or `orbax SRC OUT`."""
    if len(arguments) != 3 or arguments[0] not in ("gguf", "orbax"):
        raise InputError("give: gguf FILE OUT, or orbax SRC OUT; see --help")
    verb, path, out = arguments
    if verb == "gguf":
        if _DTYPE.value or _REVISION.value:
            raise InputError("--dtype and --revision are of orbax: leave them out")
        from jaxbpc.checkpoint.gguf import convert as gguf

        gguf.convert(pathlib.Path(path), pathlib.Path(out))
    else:
        to_orbax(path, out)
    print(f"wrote {out}", file=sys.stderr)


def to_orbax(path: str, out: str) -> None:
    """Joins the other processes and converts, on the CPU: nothing is computed."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    from jaxbpc.checkpoint import export_orbax
    from jaxbpc.parallel import distributed
    from jaxbpc.utils.progress import Bar

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", _N_DEVICES)
    parallel_flags.start()
    with Bar("writing", "B", show=distributed.is_writer()) as bar:
        export_orbax.convert(path, out, _DTYPE.value, _REVISION.value, bar.update)


if __name__ == "__main__":
    cli.run(main, __doc__, positional=True)
