"""jaxbpc: bits per character of language models, at any scale."""

__version__ = "0.1.0"
__all__ = ["evaluate"]


def __getattr__(name: str):
    """Loads the public module when it is asked for: `import jaxbpc` stays instant."""
    if name == "evaluate":
        import importlib

        return importlib.import_module("jaxbpc.evaluate")
    raise AttributeError(f"module 'jaxbpc' has no attribute {name!r}")
