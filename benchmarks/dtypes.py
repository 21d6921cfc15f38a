"""What bfloat16 costs: BPC of the demo's corpora in both dtypes, and their difference.

  python benchmarks/dtypes.py [MODEL …]

MODEL: as --config.model.path takes it; the demo's by default. Prints a table, then a line of JSON.
"""

import json
import pathlib
import sys
import tempfile

import demo

from jaxbpc.evaluation import loop


def measure(model: str | None, dtype: str):
    """The results of one run in a workdir that is thrown away."""
    config = demo.config()
    config.model.path = model or config.model.path
    config.model.dtype = dtype
    with tempfile.TemporaryDirectory() as workdir:
        return loop.run(config, workdir)


def main(models: list[str]) -> None:
    rows = []
    for model in models or [None]:
        low, high = measure(model, "bfloat16"), measure(model, "float32")
        for name in high.corpora:
            a, b = low.corpora[name].bpc, high.corpora[name].bpc
            rows.append({"model": high.model["path"], "corpus": name, "bfloat16": a, "float32": b})
    print(f"{'model':<32}{'corpus':<10}{'bfloat16':>10}{'float32':>10}{'difference':>12}")
    for row in rows:
        name = pathlib.Path(row["model"].split("#")[0]).name[:30]
        difference = row["bfloat16"] - row["float32"]
        print(
            f"{name:<32}{row['corpus']:<10}{row['bfloat16']:>10.5f}{row['float32']:>10.5f}"
            f"{difference:>+12.5f}"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
