"""What a tokenizer loses or reads into a text, counted while a corpus is tokenised.

A number of bits is one of compression only where the tokens give the text back. A tokenizer may
change the text (case, accents, spaces), have one id for all that it does not know, or take letters
of the text for a special token, as the reference does. Each is counted, with the first row where it
happens; nothing is refused.
"""

import json
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbpc.data.corpora import Document


class Audit:
    """Counts over documents.

    Args:
      texts: of which the tokenizer makes at least a token (it may drop letters).
    """

    def __init__(self, tokenizer, texts: Sequence[str]):
        self._tokenizer = tokenizer
        self.before, self.after = around(tokenizer, ["a", string.printable, *texts])
        self._unknown = unknown_id(tokenizer)
        self._special = np.array(sorted(special_ids(tokenizer)), np.uint32)
        # Without a decoder the text that tokens stand for is unknown.
        self._decodes = not tokenizer.is_fast or tokenizer.backend_tokenizer.decoder is not None
        self._counts = {"not_restored": 0, "unknown": 0, "special": 0}
        self._first_rows: dict[str, int] = {}

    def add(self, documents: Sequence[Document], ids: Sequence[np.ndarray]) -> None:
        """Counts in documents with their token ids."""
        bodies = [i[self.before : len(i) - self.after] for i in ids]
        texts: Sequence[str | None] = [None] * len(bodies)
        if self._decodes:
            texts = self._decode([body.tolist() for body in bodies])
        for document, body, text in zip(documents, bodies, texts, strict=True):
            self._count("not_restored", text not in (None, document.text), document.row)
            if self._unknown is not None:
                self._count("unknown", (body == self._unknown).sum(), document.row)
            self._count("special", np.isin(body, self._special).sum(), document.row)

    def to_json(self) -> dict[str, Any]:
        """The counts, None if unknown; rows count from 0, None where there is none."""
        return {
            "documents_not_restored": self._counts["not_restored"] if self._decodes else None,
            "first_row_not_restored": self._first_rows.get("not_restored"),
            "unknown_tokens": self._counts["unknown"],
            "first_row_unknown": self._first_rows.get("unknown"),
            "special_tokens_in_text": self._counts["special"],
            "first_row_special": self._first_rows.get("special"),
        }

    def _decode(self, ids: list[list[int]]) -> list[str]:
        if self._tokenizer.is_fast:  # all at once, in threads of its own
            return self._tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=False)
        return self._tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)

    def _count(self, what: str, n: int, row: int) -> None:
        if n:
            self._counts[what] += int(n)
            self._first_rows.setdefault(what, row)


def unknown_id(tokenizer) -> int | None:
    """The id that stands for what the tokenizer does not know; None where it has no such id.

    Not what the tokenizer's settings call `unk_token`: GPT-2's is its end of text, never given.
    """
    if not tokenizer.is_fast:
        return tokenizer.unk_token_id
    model = tokenizer.backend_tokenizer.model
    if type(model).__name__ == "Unigram":
        return json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("unk_id")
    token = getattr(model, "unk_token", None)
    return None if token is None else model.token_to_id(token)


def special_ids(tokenizer) -> set[int]:
    """The ids that the tokenizer takes for special, in its settings or its own file."""
    ids = set(tokenizer.all_special_ids)
    return ids | {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}


def around(tokenizer, texts: Sequence[str]) -> tuple[int, int]:
    """How many tokens for no text the tokenizer puts (before, after) a document: BOS, EOS.

    Args:
      texts: tried in their order, until the tokenizer makes a token of one.
    """
    ids: list[int] = []
    for text in texts:
        plain = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ids = tokenizer(text, verbose=False)["input_ids"]
        if plain:
            starts = range(len(ids) - len(plain) + 1)
            before = next((n for n in starts if ids[n : n + len(plain)] == plain), 0)
            return before, max(len(ids) - before - len(plain), 0)
    return len(ids), 0
