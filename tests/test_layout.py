"""The house: imports go down only, no room is too long."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "jaxbpc"
FLOORS = {
    0: "__init__ chips config dates errors training results intervals reduce record hlo "
    "data.windows models.arch parse models.fields models.rope_fields models.families published "
    "regress",
    1: "cli progress lives distributed sharding data.corpora data.rows data.tiktoken data.tokens "
    "weights.source config_file peers data.audit topology mirror tracking data.baselines",
    2: "models.rope models.dense models.kernels models.attend models.attention models.moe "
    "models.head models.decoder weights.gguf weights.gguf_file weights.gguf_model "
    "weights.gguf_tokenizer weights.quantized",
    3: "weights.names weights.assemble weights.tensors weights.trees weights.load weights.save "
    "weights.wheel data.batches layout step live",
    4: "job evaluate estimate series",
    5: "main prepare convert plan",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
# From a number to an answer: they read run folders, on a laptop.
ANSWERS = ["runs", "points", "checkpoints", "plots", "fit", "verify", "compare", "tables"]
ANSWERS += ["formats", "report", "curve", "contamination"]
ANSWERS += ["page.figures", "page.texts", "page.svg", "page.ledger", "page.view", "page.render"]
ANSWERS += ["page.files", "page.course"]
FLOOR |= dict.fromkeys(ANSWERS, 1)
# From any text to a corpus: the parts, then the verbs of `prepare`.
PARTS = "decode duplicates inputs parallel pieces sample tally work writer overlap"
FLOOR |= {f"text.{name}": 1 for name in PARTS.split()}
FLOOR |= dict.fromkeys(["text.parts", "text.latex", "text.arxiv", "text.wet", "text.git"], 1)
FLOOR |= dict.fromkeys(["text.paper", "text.files", "text.fresh", "text.check"], 2)
# What runs on a laptop, in a report, or before anything is checked must not wait for jax.
NO_JAX = [*FLOORS[0].split(), "cli", "progress", "data.corpora", "data.rows"]
NO_JAX += ["data.tiktoken", "data.tokens"]
NO_JAX += ["weights.source", "config_file", "data.audit", "mirror", "tracking", *ANSWERS]
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    name = name.removesuffix(".__init__")
    return "models.families" if name.startswith("models.families") else name


def imports(path, everywhere=True):
    """Names that a file imports; without `everywhere`, those at its top level."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_room(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    if room(path) in ("data", "models", "page", "text", "weights"):
        assert not text
        return
    floor = FLOOR[room(path)]
    for name in imports(path):
        target = name.removeprefix("jaxbpc.")
        target = "models.families" if target.startswith("models.families") else target
        if name.startswith("jaxbpc.") and target in FLOOR and target != room(path):
            assert FLOOR[target] <= floor, f"{path.name} imports {name}, which is above it"
        if room(path) in NO_JAX or room(path).startswith("text."):
            assert name.split(".")[0] not in ("jax", "flax", "torch"), name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_every_public_name_has_a_docstring():
    for path in FILES:
        tree = ast.parse(path.read_text())
        if not tree.body:
            continue
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
