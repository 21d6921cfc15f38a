"""jaxbpc: bits per character of language models, at any scale."""

__version__ = "0.1.0"
__all__ = ["evaluate", "score"]


def __getattr__(name: str):
    """Loads what is public when it is asked for: `import jaxbpc` stays instant."""
    import importlib

    if name == "evaluate":
        return importlib.import_module("jaxbpc.evaluation.loop")
    if name == "score":
        return importlib.import_module("jaxbpc.evaluation.score").score
    raise AttributeError(f"module 'jaxbpc' has no attribute {name!r}")
