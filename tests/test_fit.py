"""The paper's fits from its tables; one's own scores and runs beside them; the command."""

import csv
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import run_folders
import warm

from jaxbpc import published
from jaxbpc.errors import InputError
from jaxbpc.fit import benchmark_scores
from jaxbpc.fit import predictions as fit
from jaxbpc.published.names import published_name

AVERAGES = ["overall", "knowledge avg", "coding avg", "math avg"]
# As recomputed from the paper's tables: slope, intercept.
LINES = {
    "overall": (-2.2407, 1.4107),
    "knowledge avg": (-1.3916, 1.3913),
    "coding avg": (-2.4090, 1.0213),
    "math avg": (-2.5273, 1.4847),
}


@pytest.fixture(scope="module")
def paper():
    fitted, _ = fit.fit_scores([], None)
    return {f.kind.name: f for f in fitted}


def test_every_published_fit_is_there(paper):
    assert list(paper) == list(published.fits())
    for name, found in paper.items():
        assert len(found.models) == published.fits()[name].n, name


@pytest.mark.parametrize("name", AVERAGES)
def test_the_papers_averages(paper, name):
    line, want = paper[name].linear, published.fits()[name]
    assert line.pearson == pytest.approx(want.pearson, abs=0.001)
    assert line.rmse == pytest.approx(want.rmse, abs=0.0005)
    assert (line.slope, line.intercept) == pytest.approx(LINES[name], abs=5e-5)


@pytest.mark.parametrize("name", [n for n in published.fits() if n not in AVERAGES])
def test_the_papers_benchmarks(paper, name):
    line, want = paper[name].linear, published.fits()[name]
    assert line.pearson == pytest.approx(want.pearson, abs=0.004)
    assert line.rmse == pytest.approx(want.rmse, abs=0.001)


def test_published_tables():
    """Averages are the means of what is beside them, and names of models are one set."""
    assert len(published.leaderboard()) == 41
    for row in published.leaderboard():
        mean = math.fsum(row.bpc[c] for c in published.CORPORA) / 3
        assert row.bpc["average"] == pytest.approx(mean, abs=0.0011), row.model
    for model in benchmark_scores.paper_models():
        for area, (_, benchmarks) in published.AREAS.items():
            if f"{area} avg" in model.scores:
                mean = sum(model.scores[b] for b in benchmarks) / len(benchmarks)
                assert model.scores[f"{area} avg"] == pytest.approx(mean, abs=0.00051), model.name
    names = [name for model in published.models() for name in model.names]
    assert len(set(names)) == len(names)
    assert {row.model for row in published.leaderboard()} == {m.name for m in published.models()}


def paper_table(area, without=""):
    """(BPC, average score) of the paper's models but one, by its table; of an area or `overall`."""
    path = pathlib.Path(published.__file__).parent / "benchmarks.csv"
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["benchmark"] == "Average"]
    areas = [area] if area in published.AREAS else list(published.AREAS)
    by_model = {row["model"]: [] for row in rows if row["model"] != without}
    for row in rows:
        if row["area"] in areas and row["model"] in by_model:
            by_model[row["model"]].append((float(row["bpc"]), float(row["score_pct"]) / 100))
    return np.array([np.mean(v, 0) for v in by_model.values() if len(v) == len(areas)]).T


def test_a_model_of_the_paper_is_predicted(tmp_path):
    """Mistral-7b's BPC gives the score that lines through the other models have there."""
    row = next(r for r in published.leaderboard() if r.model == "Mistral-7b")
    bpc = {c: row.bpc[c] for c in published.CORPORA}
    folder = run_folders.write_paper_run(tmp_path / "run", bpc, path="mistralai/Mistral-7B-v0.1")
    runs = fit.runs.read([str(folder)])
    fitted, ours = fit.fit_scores(runs, None)
    found = {p.fit: p for p in fit.predict(ours[0], fitted)}
    assert list(found) == [n for n in published.fits() if not n.startswith("mismatch")]
    for name, n in zip(AVERAGES[:3], (18, 18, 27), strict=True):
        x, y = paper_table(name.removesuffix(" avg"), "Mistral-7b")
        assert len(x) == n
        want = np.polyval(np.polyfit(x, y, 1), found[name].bpc)
        assert found[name].score == pytest.approx(want, abs=1e-9)
    for name in AVERAGES:
        assert found[name].low < found[name].score < found[name].high
        assert not found[name].outside
        assert found[name].actual is None
    assert fit.warnings(runs, list(found.values())) == []


@pytest.mark.parametrize(
    "path",
    [
        "meta-llama/Llama-2-13b-hf",
        "/models/Llama-2-13b",
        "llama-2-13B.gguf",
        "models--meta-llama--Llama-2-13b-hf/snapshots/0f",
    ],
)
def test_a_published_model_is_left_out_of_its_own_prediction(tmp_path, path):
    """As when the model is none of the paper's: the same fits without its row."""
    bpc = {"commoncraw": 0.59, "python": 0.45, "arxiv_math": 0.45}
    runs = fit.runs.read([str(run_folders.write_paper_run(tmp_path / "run", bpc, path=path))])
    fitted, ours = fit.fit_scores(runs, None)
    found = {p.fit: p for p in fit.predict(ours[0], fitted)}
    assert len(fitted[0].models) == 19
    want = np.polyval(
        np.polyfit(*paper_table("overall", "Llama-2-13b"), 1), np.mean([*bpc.values()])
    )
    assert found["overall"].score == pytest.approx(want, abs=1e-9)
    x, y = paper_table("coding", "Llama-2-13b")
    want = np.polyval(np.polyfit(np.log(x), y, 1), np.log(0.45))
    curves = {p.fit: p for p in fit.predict(ours[0], fitted, "logarithmic")}
    assert curves["coding avg"].score == pytest.approx(want, abs=1e-9)
    # Another model of its BPC and size is none of them: it is predicted by all.
    folder = run_folders.write_paper_run(tmp_path / "other", bpc, path="me/tuned")
    fitted, ours = fit.fit_scores(fit.runs.read([str(folder)]), None)
    want = np.polyval(np.polyfit(*paper_table("overall"), 1), np.mean([*bpc.values()]))
    assert fit.predict(ours[0], fitted)[0].score == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("name", ["Llama-2-13b-hf", "Llama-2-13b", "meta-llama/Llama-2-13b-hf"])
def test_a_run_with_scores_takes_the_place_of_the_published_point(tmp_path, name):
    bpc = {"commoncraw": 0.59, "python": 0.334, "arxiv_math": 0.475}
    path = "meta-llama/Llama-2-13b-hf"
    runs = fit.runs.read([str(run_folders.write_paper_run(tmp_path / "run", bpc, path=path))])
    text = f"model,benchmark,score_pct\n{name},HellaSwag,60\n"
    fitted, ours = fit.fit_scores(runs, scores(tmp_path, text))
    by_name = {f.kind.name: f for f in fitted}
    through = [m.name for m in by_name["HellaSwag"].models]
    assert len(through) == 19
    assert through[-1] == "Llama-2-13b-hf"
    assert "Llama-2-13b" not in through
    assert (by_name["HellaSwag"].linear.x[-1], by_name["HellaSwag"].linear.y[-1]) == (0.59, 0.6)
    # Of other scores the paper's are all that there is; it is left out of the run's prediction.
    assert "Llama-2-13b" in [m.name for m in by_name["ARC-C"].models]
    assert len(by_name["ARC-C"].models) == 19
    found = {p.fit: p for p in fit.predict(ours[0], fitted)}
    want = np.polyval(np.polyfit(*paper_table("knowledge", "Llama-2-13b"), 1), 0.59)
    assert found["knowledge avg"].score == pytest.approx(want, abs=1e-9)


def test_scores_by_hub_id_are_of_the_papers_model(tmp_path):
    """Its own scores stay in the paper's fits."""
    text = "model,benchmark,score\nmeta-llama/Llama-2-13b-hf,BBH,0.47\n"
    fitted, _ = fit.fit_scores([], scores(tmp_path, text))
    assert [len(f.models) for f in fitted if f.kind.name in AVERAGES] == [19, 19, 28, 19]


def test_two_runs_of_a_published_model(tmp_path):
    """Neither is predicted by the other, and scores by the model's name are of neither."""
    bpc = {"commoncraw": 0.581, "python": 0.334, "arxiv_math": 0.475}
    folders = [run_folders.write_paper_run(tmp_path / n, bpc, path="x/Yi-6B") for n in "ab"]
    runs = fit.runs.read([str(folder) for folder in folders])
    text = "model,benchmark,score_pct\na,HumanEval,1\nYi-6b,BBH,50\n"
    fitted, ours = fit.fit_scores(runs, scores(tmp_path, text))
    assert [m.name for m in ours] == ["a", "b"]
    human_eval = next(f for f in fitted if f.kind.name == "HumanEval")
    through = [m.name for m in human_eval.models]
    assert (len(through), through[-1]) == (28, "a")
    one, other = (next(p for p in fit.predict(m, fitted) if p.fit == "HumanEval") for m in ours)
    assert one.score == other.score


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("codellama/CodeLlama-13b-hf", "Codellama-13b"),
        ("deepseek-ai/deepseek-math-7b-base", "Deepseek-math-7b"),
        ("EleutherAI/llemma_34b", "Llemma-34b"),
        ("mistralai/Mixtral-8x7B-v0.1", "Mixtral-8x7B"),
        ("mixtral-8x7b", "Mixtral-8x7B"),
        ("huggyllama/llama-7b", "Llama-1-7b"),
        ("meta-llama/Llama-2-13b-chat-hf", None),
        ("me/mine", None),
    ],
)
def test_names_of_published_models(name, known_as):
    assert published_name(name) == known_as


def test_every_model_of_the_paper_is_one_published_model():
    known = [model.published for model in benchmark_scores.paper_models()]
    assert None not in known
    assert len(set(known)) == len(known)
    for model in published.models():
        assert {published_name(name) for name in model.names} == {model.name}


def test_what_speaks_against_a_prediction(tmp_path):
    bpc = {"python": 0.9, "prose": 0.4}
    folder = tmp_path / "run"
    corpora = {name: run_folders.given(value) for name, value in bpc.items()}
    run_folders.write_results(folder, corpora, path="gpt2", data={"samples": 5})
    runs = fit.runs.read([str(folder)])
    fitted, ours = fit.fit_scores(runs, None)
    predictions = fit.predict(ours[0], fitted)
    # Of the run's corpora only one is the paper's: nothing is said of an average.
    assert [p.fit for p in predictions] == ["coding avg", "HumanEval", "MBPP", "DS-1000"]
    assert all(p.outside for p in predictions)
    told = "\n".join(fit.warnings(runs, predictions))
    assert "config.data.samples is 5" in told
    assert "python has 1,000 characters, the paper's corpus 98 million" in told
    assert "outside the fitted range of coding avg, HumanEval" in told


def scores(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return str(path)


def test_scores_of_ones_own(tmp_path):
    """A run with scores is a point of the fit, and predicted by the other points alone."""
    bpc = {"commoncraw": 0.6, "python": 0.3, "arxiv_math": 0.45}
    folder = run_folders.write_paper_run(tmp_path / "run", bpc, path="me/mine")
    text = "model,benchmark,score_pct\nmine,HumanEval,30\nMine,mbpp,40\nmine,DS-1000,20\n"
    runs = fit.runs.read([str(folder)])
    fitted, ours = fit.fit_scores(runs, scores(tmp_path, text))
    by_name = {f.kind.name: f for f in fitted}
    coding = by_name["coding avg"]
    assert [m.name for m in coding.models][-1] == "mine"
    assert coding.linear.y[-1] == pytest.approx(0.3)
    assert len(coding.linear.x) == 29
    assert len(by_name["overall"].linear.x) == 19
    found = {p.fit: p for p in fit.predict(ours[0], fitted)}["coding avg"]
    assert found.actual == pytest.approx(0.3)
    assert found.score == pytest.approx(-2.4090 * 0.3 + 1.0213, abs=2e-4)


def test_a_benchmark_that_the_paper_lacks(tmp_path):
    rows = ["Llama-2-7b,BBH,0.39", "meta-llama/Llama-2-13b-hf,BBH,0.47", "Llama-2-70b,BBH,0.65"]
    text = "\n".join(["model,benchmark,score", *rows])
    fitted, _ = fit.fit_scores([], scores(tmp_path, text), only=["bbh"])
    assert [m.name for m in fitted[0].models] == ["Llama-2-7b", "Llama-2-13b", "Llama-2-70b"]
    # The paper's mean over its three corpora; without its scores, the leaderboard's.
    assert fitted[0].linear.x[0] == pytest.approx((0.612 + 0.354 + 0.5) / 3)
    fitted, _ = fit.fit_scores([], scores(tmp_path, text), paper=False)
    assert [f.kind.name for f in fitted] == ["BBH"]
    assert fitted[0].linear.x[0] == 0.488


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,benchmark\na,b\n", "model, benchmark, and score_pct or score"),
        ("model,benchmark,score,colour\na,b,1,red\n", "no column is called 'colour'"),
        ("model,benchmark,score\nLlama-2-7b,MMLU,0.4\n", r"scores\.csv:2: MMLU .* --nopaper"),
        ("model,benchmark,score\nnew,MMLU,0.4\n", r"scores\.csv:2: no BPC of 'new' on commoncraw"),
        ("model,benchmark,score\nLlama-3-8b,MBPP,40\n", "score_pct"),
        ("model,benchmark,score_pct\nLlama-3-8b,MBPP,101\n", "a number from 0 to 100"),
        ("model,benchmark,score_pct\nLlama-3-8b,MBPP,nan\n", "'nan': give a number"),
        ("model,benchmark,score_pct\nLlama-3-8b,MBPP\n", r"scores\.csv:2: not 3 fields"),
        ("model,benchmark,score,corpus\nYi-6b,MBPP,0.1,arxiv_math\n", "against python"),
    ],
)
def test_scores_at_fault(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        fit.fit_scores([], scores(tmp_path, text))


PUBLISHED_RUN = {"commoncraw": 0.581, "python": 0.45, "arxiv_math": 0.475}


@pytest.mark.parametrize(
    ("rows", "paper", "message"),
    [
        # An earlier row; the run's own; the published tables'.
        (["m1,Foo,10,python,0.50", "m1,Bar,11,python,0.90"], False, r"csv:3: .* 0\.5 in .*csv:2: "),
        (
            ["mine,Foo,10,python,0.30"],
            True,
            r"csv:2: .*'mine' on python is 0\.3 here, 0\.45 in .*run",
        ),
        (["mine,Foo,10,python,0.4511"], True, r"csv:2: .* 0\.45 in .*run: leave bpc empty"),
        (["mine,Foo,10,,0.9"], True, r"csv:2: .* on average is 0\.9 here, 0\.502 in .*run"),
        (["mine,Foo,10,news,0.7"], True, r"csv:2: .* on news is 0\.7 here, 0\.8 in .*run"),
        (["Llama-2-7b,Foo,10,,0.9"], True, r"csv:2: .* 0\.488667 in the paper's table"),
        (["Llama-2-7b,Foo,10,,0.9"], False, r"csv:2: .* 0\.488667 in the paper's table"),
        (
            ["huggyllama/llama-7b,Foo,10,python,0.40"],
            True,
            r"csv:2: .* 0\.379 in the paper's table",
        ),
        (["Llama-3-8b,Foo,10,python,0.27"], True, ""),
        (["Llama-3-8b,Foo,10,python,0.270"], True, r"csv:2: .* 0\.268 in hkust-nlp"),
        (["Codellama-13b,Foo,10,python,0.30"], False, r"csv:2: .* 0\.251 in the paper's table"),
        *(
            ([f"m1,Foo,10,python,{bpc}"], True, rf"csv:2: bpc is '{bpc}': give a positive number")
            for bpc in ("0", "-0.5", "nan", "inf", "1e999", "1e-999", "half")
        ),
    ],
)
def test_a_bpc_that_contradicts_what_is_known(tmp_path, rows, paper, message):
    corpora = {name: run_folders.given(bpc) for name, bpc in PUBLISHED_RUN.items()}
    corpora["news"] = run_folders.given(0.8)
    runs = fit.runs.read(
        [str(run_folders.write_results(tmp_path / "run", corpora, path="me/mine"))]
    )
    path = scores(tmp_path, "\n".join(["model,benchmark,score_pct,corpus,bpc", *rows]))
    if not message:
        benchmark_scores.read_scores(pathlib.Path(path), runs, paper)
        return
    with pytest.raises(InputError, match=message) as told:
        benchmark_scores.read_scores(pathlib.Path(path), runs, paper)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("bpc", ["0.45", "0.450", "0.5", " 0.45 ", "4.5e-1", ""])
def test_a_bpc_that_is_repeated_changes_nothing(tmp_path, bpc):
    """The run's digits hold, as do a published table's, and an earlier row's."""
    runs = fit.runs.read(
        [str(run_folders.write_paper_run(tmp_path / "run", PUBLISHED_RUN, path="me/mine"))]
    )
    rows = [
        f"mine,Foo,10,python,{bpc}",
        "Qwen-1.5-32b,Foo,20,python,0.2584",  # OpenCompass's; the paper's is 0.257
        "m1,Foo,10,python,0.612",
        "m1,Bar,10,python,0.61",
        "m1,Baz,10,python,",
    ]
    path = scores(tmp_path, "\n".join(["model,benchmark,score_pct,corpus,bpc", *rows]))
    models, _ = benchmark_scores.read_scores(pathlib.Path(path), runs, paper=True)
    assert [m.bpc["python"] for m in models] == [0.45, 0.257, 0.612]
    fitted, _ = fit.fit_scores(runs, path)
    assert fitted[0].linear.pearson == pytest.approx(published.fits()["overall"].pearson, abs=0.001)


def command(*arguments):
    return warm.run("jaxbpc.fit", *arguments)


@pytest.mark.smoke
def test_the_command(tmp_path):
    bpc = {"commoncraw": 0.6, "python": 0.3, "arxiv_math": 0.45}
    folder = run_folders.write_paper_run(tmp_path / "run", bpc, path="me/mine")
    plot, data = tmp_path / "fits.svg", tmp_path / "fits.json"
    done = command(folder, "--plot", plot, "--json", data)
    assert done.returncode == 0, done.stderr
    assert "overall" in done.stdout
    assert "-0.931 0.031" in done.stdout
    drawn = plot.read_text()
    assert "Llama-2-70b" in drawn
    assert "mine (predicted)" in drawn
    found = json.loads(data.read_text())
    assert len(found["fits"]) == 18
    assert found["predictions"][0]["model"] == "mine"


@pytest.mark.smoke
def test_the_power_command(tmp_path):
    sizes = [1e8, 3e8, 1e9, 3e9, 1e10]
    rows = [f"{x:g},{0.4 + 0.3 * (x / 1e8) ** -0.25!r}" for x in sizes]
    for i, x in enumerate(sizes):
        bpc = {"python": 0.4 + 0.3 * (x / 1e8) ** -0.25}
        path = tmp_path / f"run{i}"
        run_folders.write_paper_run(path, bpc, path=f"me/{i}", model={"parameters": int(x)})
    (tmp_path / "sizes.csv").write_text("\n".join(["parameters,bpc", *rows]))
    named = [f"{x:g},run{i}" for i, x in enumerate(sizes)]
    (tmp_path / "tokens.csv").write_text("\n".join(["tokens,run", *named]))
    for sources in (
        [tmp_path / "sizes.csv"],
        [tmp_path / f"run{i}" for i in range(5)],
        [tmp_path / "tokens.csv", "--x=tokens"],
    ):
        data, plot = tmp_path / "law.json", tmp_path / "law.png"
        done = command("power", *sources, "--at=1e11", "--json", data, "--plot", plot)
        assert done.returncode == 0, done.stderr
        assert "outside the fitted range" in done.stdout
        found = json.loads(data.read_text())
        assert found["floor"] == pytest.approx(0.4, abs=1e-6)
        assert found["exponent"] == pytest.approx(0.25, abs=1e-6)
        want = 0.4 + 0.3 * 1000**-0.25
        assert found["predictions"][0]["bpc"] == pytest.approx(want, abs=1e-6)
        assert plot.read_bytes().startswith(b"\x89PNG")


def test_an_exponent_that_the_points_do_not_determine(tmp_path):
    rows = ["1e8,0.9", "2e8,0.5", "4e8,0.5001", "8e8,0.4999", "16e8,0.5"]
    (tmp_path / "steep.csv").write_text("\n".join(["parameters,bpc", *rows]))
    data, plot = tmp_path / "law.json", tmp_path / "law.svg"
    done = command("power", tmp_path / "steep.csv", "--json", data, "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert "exponent  10.0000  8.2148 to above 10\n" in done.stdout
    told = [line for line in done.stdout.splitlines() if "do not determine an exponent" in line]
    assert len(told) == 1
    low, high = json.loads(data.read_text())["exponent_interval"]
    assert low == pytest.approx(8.2148, abs=1e-4)
    assert high is None
    assert "floor" in plot.read_text()


def test_bpc_that_does_not_fall_is_no_power_law(tmp_path):
    (tmp_path / "up.csv").write_text("parameters,bpc\n1,0.5\n2,0.6\n3,0.7\n4,0.8\n")
    done = command("power", tmp_path / "up.csv")
    assert done.returncode == 2
    assert "does not fall with parameters" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent/results.json: no such file"),
        (["--fits=nonsense"], "no fit 'nonsense': give of overall"),
        (["--scores=absent.csv"], "absent.csv: cannot be read"),
        (["--plot=figure.bmp"], ".svg or .png"),
        (["power"], "give run folders or a CSV file"),
        (["power", "absent.csv"], "absent.csv: cannot be read"),
        (["--json=absent/fits.json"], "absent/fits.json: cannot be written"),
        (["--plot=absent/fits.svg"], "absent/fits.svg: cannot be written"),
        (["--nopaper"], "no benchmark has scores of 3 models"),
    ],
)
def test_what_is_at_fault(arguments, message):
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


def test_matplotlib_is_not_needed_without_a_plot():
    code = (
        "import sys; from jaxbpc.fit import predictions\n"
        "predictions.fit_scores([], None); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jax", "matplotlib", "transformers", "pandas"} & set(done.stdout.split())


def test_equal_figures_are_equal_files(tmp_path):
    from jaxbpc.fit import plots

    fitted, _ = fit.fit_scores([], None, only=AVERAGES)
    for name in ("one.svg", "other.svg"):
        plots.scores(fitted, [], "linear", tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert np.isfinite(fitted[0].linear.left_out).all()
