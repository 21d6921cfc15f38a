"""Published numbers, as package data: BPC of models, their benchmark scores, the paper's fits.

  leaderboard.csv  BPC by model and corpus, of the paper's repository and of OpenCompass
  benchmarks.csv   the paper's benchmark scores, in percent, with the BPC they are fitted against
  fits.csv         Pearson's r and RMSE of each fit, as printed
  models.csv       what the leaderboard's models are called on the hub, and how large they are

Source: arXiv 2404.09937; hkust-nlp/llm-compression-intelligence; OpenCompass, llm_compression.
"""

import csv
import dataclasses
import functools
import importlib.resources

CORPORA = ("commoncraw", "python", "arxiv_math")
# Characters of the paper's corpora, in millions, as it prints them.
MEGACHARACTERS = {"commoncraw": 131, "python": 98, "arxiv_math": 101}
BLOCK_SIZE, STRIDE = 1900, 512
# Area → (the corpus that its benchmarks are fitted against, the benchmarks of its average).
AREAS = {
    "knowledge": ("commoncraw", ("HellaSwag", "ARC-C", "NaturalQuestions", "TriviaQA", "MMLU")),
    "coding": ("python", ("HumanEval", "MBPP", "DS-1000")),
    "math": ("arxiv_math", ("GSM8K", "MATH", "SAT-Math", "MMLU-Math")),
}
# Models that the paper leaves out of its mathematical fits: they were tuned on such exercises.
NOT_IN_MATH = ("Qwen-7b", "Qwen-14b", "Qwen-72b")
# Models with benchmark scores that the leaderboard lacks → their hub ids.
OFF_LEADERBOARD = {
    "Codellama-7b": "codellama/CodeLlama-7b-hf",
    "Codellama-13b": "codellama/CodeLlama-13b-hf",
    "Codellama-34b": "codellama/CodeLlama-34b-hf",
    "Deepseek-coder-1.3b": "deepseek-ai/deepseek-coder-1.3b-base",
    "Deepseek-coder-6.7b": "deepseek-ai/deepseek-coder-6.7b-base",
    "Deepseek-coder-33b": "deepseek-ai/deepseek-coder-33b-base",
    "Deepseek-math-7b": "deepseek-ai/deepseek-math-7b-base",
    "Jamba-52b": "ai21labs/Jamba-v0.1",
    "Llemma-7b": "EleutherAI/llemma_7b",
    "Llemma-34b": "EleutherAI/llemma_34b",
    "Starcoder2-7b": "bigcode/starcoder2-7b",
    "Starcoder2-15b": "bigcode/starcoder2-15b",
    "StarcoderBase": "bigcode/starcoderbase",
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the leaderboard: its names, its class and number of parameters."""

    name: str
    names: tuple[str, ...]  # with OpenCompass's and the hub's
    architecture: str
    parameters: int


@dataclasses.dataclass(frozen=True)
class Bpc:
    """One row of a published table. `bpc` has the corpora and their mean, `average`."""

    model: str  # a `Model.name`
    bpc: dict[str, float]
    source: str


@dataclasses.dataclass(frozen=True)
class Score:
    """A benchmark's score as a fraction, and the model's BPC on the corpus of that area."""

    model: str
    area: str
    benchmark: str
    score: float
    bpc: float


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit as the paper prints it."""

    pearson: float
    rmse: float
    n: int


@functools.cache
def models() -> tuple[Model, ...]:
    """Every model of the leaderboard, once."""
    return tuple(
        Model(
            row["model"],
            tuple(filter(None, [row["model"], row["opencompass"], *row["hub_ids"].split()])),
            row["architecture"],
            int(row["parameters"]),
        )
        for row in _rows("models.csv")
    )


@functools.cache
def leaderboard() -> tuple[Bpc, ...]:
    """The published tables, the paper's first. A model may be in both."""
    name = {alias: model.name for model in models() for alias in model.names}
    columns = (*CORPORA, "average")
    return tuple(
        Bpc(name[row["model"]], {c: float(row[c]) for c in columns}, row["source"])
        for row in _rows("leaderboard.csv")
    )


@functools.cache
def scores() -> tuple[Score, ...]:
    """The paper's benchmark scores; `Average` is the mean over an area, as printed."""
    return tuple(
        Score(
            row["model"],
            row["area"],
            row["benchmark"],
            float(row["score_pct"]) / 100,
            float(row["bpc"]),
        )
        for row in _rows("benchmarks.csv")
    )


@functools.cache
def fits() -> dict[str, Fit]:
    """The paper's fits by their names there."""
    return {
        row["fit"]: Fit(float(row["pearson"]), float(row["rmse"]), int(row["n"]))
        for row in _rows("fits.csv")
    }


def _rows(name: str) -> list[dict[str, str]]:
    path = importlib.resources.files(__package__) / name
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
