"""torch transformers as the oracle: makes the tiny models, scores them, writes `golden/`.

python tests/oracle.py [CASE …]     writes tests/golden/CASE.json (all by default); needs torch

It also writes a hash of each family's code: live parity (`test_parity_torch.py`) runs for families
whose code has changed since.
"""

import ast
import hashlib
import json
import pathlib
import sys
import tempfile

import cases
import numpy as np
import safetensors

from jaxbpc.models import families

GOLDEN = pathlib.Path(__file__).parent / "golden"
STATES = GOLDEN / "states.json"
FAMILIES = pathlib.Path(families.__file__).parent


def make(case: str, folder: pathlib.Path) -> dict:
    """Writes the case's model to `folder` as transformers itself saves it; returns its shapes."""
    import transformers

    kind, fields = cases.CASES[case]
    config = transformers.CONFIG_MAPPING[kind](**fields)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    cases.write_model(folder, json.loads((folder / "config.json").read_text()), shapes)
    return shapes


def nll(folder: pathlib.Path, ids: np.ndarray) -> np.ndarray:
    """Nats of each target, [rows, tokens - 1]: torch's float32 logits, its loss in float64."""
    import torch
    import transformers

    # Falcon's eager attention adds ALiBi twice; its default one once, as the code that is published
    # beside the weights.
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    attention = "sdpa" if kind == "falcon" else "eager"
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    ).eval()
    with torch.no_grad():
        logits = model(torch.tensor(ids[:, :-1]).long()).logits.double()
    targets = torch.tensor(ids[:, 1:]).long()[..., None]
    return -torch.log_softmax(logits, -1).gather(-1, targets)[..., 0].numpy()


def golden(case: str) -> dict:
    """What torch gave for a case: its config, shapes and nats."""
    return json.loads((GOLDEN / f"{case}.json").read_text())


def thin(values: np.ndarray) -> np.ndarray:
    """What of a case's nats is kept in `golden/`."""
    return values[:, :: cases.GOLDEN_STEP]


def state(kind: str) -> str:
    """The hash of the code that computes a family: the decoder's, its own and what it imports."""
    paths, todo = set(FAMILIES.parent.glob("*.py")), [kind]
    while todo:
        path = FAMILIES / f"{todo.pop()}.py"
        if path not in paths and path.is_file():
            paths.add(path)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == families.__name__:
                    todo += [alias.name for alias in node.names]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def golden_states() -> dict[str, str]:
    """Case → the state of its family's code as its golden values were written or confirmed."""
    return json.loads(STATES.read_text()) if STATES.exists() else {}


def main(names: list[str]) -> None:
    GOLDEN.mkdir(exist_ok=True)
    for case in names or cases.CASES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            shapes = make(case, folder)
            config = json.loads((folder / "config.json").read_text())
            values = thin(nll(folder, cases.ids(cases.n_tokens(case))))
        content = {"config": config, "shapes": shapes, "nll": np.round(values, 7).tolist()}
        (GOLDEN / f"{case}.json").write_text(json.dumps(content) + "\n")
        states = golden_states() | {case: state(cases.CASES[case][0])}
        STATES.write_text(json.dumps(states, indent=1, sort_keys=True) + "\n")
        print(case, values.mean())


if __name__ == "__main__":
    main(sys.argv[1:])
