"""What was counted, scored and left out, how fast and by what: the page's tables of facts."""

from typing import Any

from jaxbpc.analysis.compare import Comparison
from jaxbpc.analysis.training_curve import trained
from jaxbpc.run.results import CorpusResult

_MOST_SUBSETS = 12  # of a corpus
_VERSIONS = ("jaxbpc", "jax", "flax", "transformers", "tokenizers", "python", "platform")


def number(value: float | None, form: str = ".4f") -> str:
    """A number as the page has it; a dash where there is none."""
    return "–" if value is None else f"{value:{form}}".replace("-", "−")


def baselines(found: Comparison) -> dict[str, Any] | None:
    """Bits per character of general compressors, where results have them, beside the best run.

    Corpora of which runs have scored different texts are left out.
    Each with its percent of the corpus's largest, for a bar.
    """
    rows, columns = [], []
    for name in [name for name in found.corpora if name not in found.unlike]:
        entries = [r.run.results.corpora.get(name) for r in found.ranking]
        baselines = next((e.baselines for e in entries if e and e.baselines), None)
        values = [e.bpc_full for e in entries if e and e.bpc_full]
        if baselines:
            rows.append((name, baselines, min(values, default=None)))
            columns += [key for key in baselines if key not in columns]
    if not rows:
        return None
    cells = []
    for name, baselines, best in rows:
        bits = [*(baselines.get(c) for c in columns), best]
        most = max(v for v in bits if v is not None)
        bars = [(number(v), round(100 * (v or 0) / most, 2) if most else 0) for v in bits]
        cells.append((name, bars[:-1], bars[-1]))
    return {"columns": columns, "rows": cells}


def has_weighted(found: Comparison) -> bool:
    """Whether a run has a mean by characters over more than one corpus."""
    every = [ranked.run.results for ranked in found.ranking]
    return any(r.weighted_bpc is not None and len(r.corpora) > 1 for r in every)


def subsets(found: Comparison) -> list[dict[str, Any]]:
    """The largest subsets of each corpus that has several, with each run's full BPC of them.

    The other one leaves out the corpus's tail, which may be all of a subset.
    """
    made = []
    for name in found.corpora:
        entries = [r.run.results.corpora.get(name) for r in found.ranking]
        by_run = [(entry.subsets or {}) if entry else {} for entry in entries]
        sizes: dict[str, dict[str, Any]] = {}
        for own in by_run:
            sizes = own | sizes
        order = sorted(sizes, key=lambda s: -sizes[s]["characters"])
        if len(order) < 2:
            continue
        rows = [
            (
                subset,
                f"{sizes[subset]['documents']:,}",
                f"{sizes[subset]['characters']:,}",
                [number(own[subset]["bpc_full"] if subset in own else None) for own in by_run],
            )
            for subset in order[:_MOST_SUBSETS]
        ]
        made.append({"corpus": name, "rows": rows, "more": len(order) - len(rows)})
    return made


def speed(found: Comparison) -> list[tuple[str, list[str]]]:
    """(what, one word a run); what no run reports is left out."""
    every = [ranked.run for ranked in found.ranking]

    def row(what: str, value) -> tuple[str, list[str]]:
        return what, [_word(value(run)) for run in every]

    def rate(field: str, form: str, unit: str):
        def value(run):
            reported = run.results.speed.get(field)
            return None if reported is None else f"{reported:{form}}{unit}"

        return value

    def progress(field: str, form: str):
        def value(run):
            reported = trained(run, field)
            return None if reported is None else f"{reported:{form}}"

        return value

    def last(run) -> dict[str, Any]:
        return run.results.runs[-1] if run.results.runs else {}

    def mesh(run):
        sizes = (last(run).get("mesh") or {}).items()
        return ", ".join(f"{axis} {size}" for axis, size in sizes)

    def window(run):
        return "{block_size} tokens, stride {stride}".format(**run.results.window)

    rows = [
        row("Architecture", lambda run: run.results.model.get("architecture")),
        row("Parameters", lambda run: _count(run.results.model.get("parameters"))),
        row("Precision", lambda run: run.results.model.get("dtype")),
        row("Training step", progress("step", ",")),
        row("Tokens of training", progress("tokens", ",.0f")),
        row("FLOPs of training", progress("flops", ".3g")),
        row("Scored tokens a second", rate("scored_tokens_per_s", ",.1f", "")),
        row("Windows a second", rate("windows_per_s", ",.3g", "")),
        row("Wall time", rate("wall_s", ",.0f", " s")),
        row("of which loading", rate("load_s", ",.1f", " s")),
        row("of which compiling", rate("compile_s", ",.1f", " s")),
        row("of which tokenising", rate("tokenize_s", ",.1f", " s")),
        row("Devices", lambda run: ", ".join(run.results.environment.get("devices") or [])),
        row("Mesh", mesh),
        row("Windows a device a step", lambda run: last(run).get("batch_per_device")),
        row("Processes", lambda run: run.results.environment.get("processes")),
        row("Times started", lambda run: len(run.results.runs)),
        row("Last started", lambda run: str(last(run).get("started") or "")[:16].replace("T", " ")),
        row("Window", window),
        row("Rows", lambda run: run.results.config.get("data", {}).get("samples") or "all"),
        row("Template", lambda run: run.results.config.get("data", {}).get("template")),
        *(row(n, lambda run, n=n: run.results.environment.get(n)) for n in _VERSIONS),
        row("Weights’ SHA-256", lambda run: _short(run.results.model.get("weights_fingerprint"))),
        row("Tokenizer’s SHA-256", lambda run: _short(run.results.model["tokenizer_fingerprint"])),
    ]
    return [(what, words) for what, words in rows if any(word != "–" for word in words)]


def _short(digest: str | None) -> str:
    return (digest or "")[:16]


def _word(value: Any) -> str:
    return "–" if value is None or value == "" else str(value)


def _count(value: Any) -> str | None:
    if not isinstance(value, int):
        return None
    return f"{value / 1e9:.2f} B" if value >= 1e9 else f"{value / 1e6:.1f} M"


def ledger(found: Comparison) -> list[dict[str, Any]]:
    """A row a corpus and run: what was counted, scored and left out."""
    return [
        {"corpus": name, "run": i, **_counts(result)}
        for name in found.corpora
        for i, ranked in enumerate(found.ranking)
        if (result := ranked.run.results.corpora.get(name))
    ]


def _counts(r: CorpusResult) -> dict[str, Any]:
    share = r.scored_tokens / r.tokens if r.tokens else 0.0
    return {
        "documents": f"{r.documents:,}",
        "skipped": f"{r.empty_documents:,}",
        "characters": f"{r.characters:,}",
        "bytes": f"{r.bytes:,}",
        "tokens": f"{r.tokens:,}",
        "per_token": f"{r.characters / r.tokens:.2f}" if r.tokens else "–",
        "windows": f"{r.windows:,}",
        "unscored": f"{r.unscored_tokens:,}",
        "share": f"{share:.2%}",
        "part": round(100 * share, 2),
        "bos": f"{r.bos_tokens:,}",
        "bos_bpc": f"{r.bos_nats / r.nats:.2%}" if r.nats else "–",
    }


def audit(found: Comparison) -> list[tuple[int, str, list[str]]]:
    """(run, corpus, [documents not restored, unknown tokens, special tokens in text])."""
    fields = ("documents_not_restored", "unknown_tokens", "special_tokens_in_text")
    return [
        (i, name, [_word(result.audit.get(field)) for field in fields])
        for name in found.corpora
        for i, ranked in enumerate(found.ranking)
        if (result := ranked.run.results.corpora.get(name)) and result.audit
    ]


def min_k(found: Comparison) -> list[tuple[int, str, str, str, str]]:
    """(run, corpus, share of tokens, mean log-probability, documents) of runs that have it."""
    return [
        (i, name, f"{reported['k_percent']}%", number(reported["mean_log_prob"], ".3f"), documents)
        for name in found.corpora
        for i, ranked in enumerate(found.ranking)
        if (result := ranked.run.results.corpora.get(name)) and (reported := result.min_k)
        for documents in [f"{reported['documents']:,}"]
    ]


def notes(found: Comparison) -> list[tuple[str, str, str]]:
    """(run, corpus, what to know before its number is believed)."""
    return [
        (ranked.run.name, name, result.note)
        for ranked in found.ranking
        for name, result in ranked.run.results.corpora.items()
        if result.note
    ]
