"""Memory of reading and tokenising, against the size of the corpus.

  python benchmarks/memory.py [--megabytes 2000] [--documents 1000000]

Makes corpora of the interpreter's own prose, lines drawn at random, and tokenises each in a process
of its own, with a tokenizer whose pieces are the lines (few tokens, so that it takes minutes;
--words trains one of the usual kind): a small one; one of so many megabytes in so many documents;
as many documents of a few letters; a tenth of the large one as one JSON array; and a line that is
longer than is allowed. Prints the peak of resident memory, as a table and a line of JSON. The files
are removed; with --words they take five times the size on the disk.
"""

import argparse
import json
import os
import pathlib
import pydoc_data.topics
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import demo

SMALL = 10  # MB, of 1,000 documents at least: some batches of the tokenizer
PEAK_MIB = 300  # what a large corpus may take beyond the small one


def make_tokenizer(folder: pathlib.Path, prose: list[str], words: bool) -> None:
    """A byte-level BPE, trained on the `words` of `prose`, or with its lines for pieces."""
    import tokenizers
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    letters = ByteLevel(add_prefix_space=False, use_regex=words)
    alphabet = ByteLevel.alphabet()
    if words:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = letters
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=4096, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(prose, trainer)
    else:
        pieces = dict.fromkeys(alphabet)
        pieces |= dict.fromkeys(letters.pre_tokenize_str(line)[0][0] for line in prose)
        vocab = {piece: i for i, piece in enumerate(pieces)}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [], ignore_merges=True))
        tokenizer.pre_tokenizer = Sequence([Split("\n", "isolated"), letters])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))


def documents(prose: list[str], n_bytes: int, n: int) -> Iterator[str]:
    """`n` documents of random lines of `prose`, of `n_bytes` together."""
    draw = random.Random(0)
    for _ in range(n):
        lines, left = [], n_bytes // n
        while left > 0 or not lines:
            lines.append(draw.choice(prose) if left > 50 else "ends")
            left -= len(lines[-1]) + 1
        yield "\n".join(lines)


def write(path: pathlib.Path, texts: Iterator[str], array: bool = False) -> None:
    """One JSON object a line, or one array of them."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("[" if array else "")
        for i, text in enumerate(texts):
            file.write((",\n" if array and i else "") + json.dumps({"content": text}))
            file.write("" if array else "\n")
        file.write("]" if array else "")


def work(path: str, tokenizer: str) -> None:
    """Tokenises a corpus in this process and prints what it took."""
    from jaxbpc.data import tokens
    from jaxbpc.errors import InputError

    folder = pathlib.Path(tokenizer)
    began = time.perf_counter()
    row: dict = {}
    try:
        stream = tokens.stream(pathlib.Path(path), folder, folder.parent / "cache")
        row = {"documents": len(stream.documents), "tokens": len(stream.token_ids)}
        row |= {"characters": stream.characters}
    except InputError as e:
        row["refused"] = str(e)
    row["seconds"] = time.perf_counter() - began
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(row))


def measure(place: pathlib.Path, name: str, make) -> dict:
    """The row of one corpus, which is made before and removed after."""
    path = place / f"{name.replace(' ', '_')}.jsonl"
    make(path)
    size = path.stat().st_size
    command = [sys.executable, __file__, "--work", str(path), str(place / "tokenizer")]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        path.unlink()
        subprocess.run(["rm", "-rf", str(place / "cache")], check=True)
    return {"corpus": name, "megabytes": size / 1e6} | json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of corpora")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(*args.work)
        return
    topics = "\n".join(pydoc_data.topics.topics.values()).splitlines()
    prose = [line for line in topics if line.strip()]
    n_bytes, n = args.megabytes * 10**6, args.documents

    def of(n_bytes: int, n: int, array: bool = False):
        return lambda path: write(path, documents(prose, n_bytes, n), array)

    def one_line(path: pathlib.Path) -> None:
        with open(path, "wb") as file:  # the disk keeps no room for what is not written
            file.write(b'{"content": "a"}\n{"content": "')
            file.truncate(n_bytes)

    corpora = {
        "small": of(SMALL * 10**6, 5000),
        "large": of(n_bytes, n),
        "tiny documents": of(20 * n, n),
        "array": of(n_bytes // 10, n // 10, array=True),
        "one line": one_line,
    }
    rows = []
    print(f"{'corpus':<16}{'MB':>9}{'documents':>12}{'tokens':>14}{'seconds':>9}{'peak MiB':>10}")
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        make_tokenizer(place / "tokenizer", prose, args.words)
        for name in args.only or corpora:
            row = measure(place, name, corpora[name])
            rows.append(row)
            print(
                f"{name:<16}{row['megabytes']:>9,.0f}{row.get('documents', 0):>12,}"
                f"{row.get('tokens', 0):>14,}{row['seconds']:>9.1f}{row['peak_mib']:>10.0f}",
                flush=True,
            )
    most = max(row["peak_mib"] for row in rows) - rows[0]["peak_mib"]
    print(f"at most {most:+.0f} MiB against {rows[0]['corpus']}; allowed are {PEAK_MIB}")
    print(json.dumps({"rows": rows, "beyond_small_mib": most, "machine": demo.machine()}))
    if most > PEAK_MIB or any("refused" in row for row in rows if row["corpus"] != "one line"):
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
