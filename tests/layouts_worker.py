"""One process of a job: scores models on layouts.

python layouts_worker.py JOBS PROCESS    JOBS: a JSON file, see test_layouts.py
"""

import json
import pathlib
import sys

import jax


def main() -> None:
    """Runs each of the jobs and writes what each found."""
    path, process = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    work = json.loads(path.read_text())
    jax.config.update("jax_num_cpu_devices", work["devices"])
    if work["processes"] > 1:
        jax.distributed.initialize(work["address"], work["processes"], process)
    from jaxbpc import config as config_lib
    from jaxbpc.evaluation import loop

    found = {}
    for name, (model, mesh) in work["jobs"].items():
        config = config_lib.default()
        config.model.path, config.model.dtype = model, "float32"
        config.data.dir, config.data.corpora = work["data"], ("text",)
        config.window.block_size, config.window.stride = 300, 100
        config.batch_per_device = 1
        config.mesh.data, config.mesh.fsdp, config.mesh.tensor = mesh
        result = loop.run(config, path.parent / name)
        text = result.corpora["text"]
        found[name] = {
            "nats": [text.nats, text.nats_full],
            "fingerprint": result.model["weights_fingerprint"],
        }
    path.with_suffix(f".{process}").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
