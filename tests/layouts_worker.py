"""One process of a job: scores models on layouts, and counts what it reads of their weights.

python layouts_worker.py JOBS PROCESS    JOBS: a JSON file, see test_layouts.py
"""

import json
import pathlib
import sys

import jax


def main() -> None:
    """Runs each of the jobs and writes what each read and what it found."""
    path, process = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    work = json.loads(path.read_text())
    jax.config.update("jax_num_cpu_devices", work["devices"])
    if work["processes"] > 1:
        jax.distributed.initialize(work["address"], work["processes"], process)
    # Imported before bytes are counted.
    import orbax.checkpoint.experimental.v1  # noqa: F401

    from jaxbpc import config as config_lib
    from jaxbpc import evaluate
    from jaxbpc.weights import tensors

    n_read = 0
    find = tensors.find

    def counted(folder):
        stored = find(folder)

        def read(wanted):
            nonlocal n_read
            before = bytes_read()
            arrays = jax.block_until_ready(stored.read(wanted))
            n_read += bytes_read() - before
            return arrays

        return tensors.Stored(stored.tensors, read)

    tensors.find = counted
    found = {}
    for name, (model, mesh) in work["jobs"].items():
        n_read = 0
        config = config_lib.default()
        config.model.path, config.model.dtype = model, "float32"
        config.data.dir, config.data.corpora = work["data"], ("text",)
        config.window.block_size, config.window.stride = 300, 100
        config.batch_per_device = 1
        config.mesh.data, config.mesh.fsdp, config.mesh.tensor = mesh
        result = evaluate.run(config, path.parent / name)
        text = result.corpora["text"]
        found[name] = {
            "nats": [text.nats, text.nats_full],
            "fingerprint": result.model["weights_fingerprint"],
            "n_read": n_read,
        }
    path.with_suffix(f".{process}").write_text(json.dumps(found))


def bytes_read() -> int:
    """By this process, as the kernel counts them: files' and sockets' alike."""
    return int(pathlib.Path("/proc/self/io").read_text().split()[1])


if __name__ == "__main__":
    main()
