"""torch transformers as the oracle: makes the tiny models, scores them, writes `golden/`.

python tests/oracle.py [CASE …]     writes tests/golden/CASE.json (all by default); needs torch
"""

import json
import pathlib
import sys
import tempfile

import cases
import numpy as np
import safetensors

GOLDEN = pathlib.Path(__file__).parent / "golden"


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


def thin(values: np.ndarray) -> np.ndarray:
    """What of a case's nats is kept in `golden/`."""
    return values[: cases.GOLDEN_ROWS, :: cases.GOLDEN_STEP]


def main(names: list[str]) -> None:
    GOLDEN.mkdir(exist_ok=True)
    for case in names or cases.CASES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            shapes = make(case, folder)
            config = json.loads((folder / "config.json").read_text())
            values = thin(nll(folder, cases.ids()))
        golden = {"config": config, "shapes": shapes, "nll": np.round(values, 7).tolist()}
        (GOLDEN / f"{case}.json").write_text(json.dumps(golden) + "\n")
        print(case, values.mean())


if __name__ == "__main__":
    main(sys.argv[1:])
