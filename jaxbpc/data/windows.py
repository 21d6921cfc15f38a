"""The plan of windows over a token stream, as pure arithmetic.

The idea: a corpus of N tokens is read through windows of `block_size` inputs that start every
`stride` tokens. Window 0 scores all its targets; every later one scores only its last `stride`
targets, which the earlier windows have not scored and which so have at least
`block_size - stride` tokens of context.

The complications: the last (N - block_size - 1) mod stride tokens fit no window. The reference
number leaves them out; the full number scores them by one more window, aligned to the right end.
A stream shorter than one window has no reference number; the full one comes from a single window,
padded at its end.

A window is a function of (N, block_size, stride, index) alone: any host, any order, any resume.
Source: `packed_dataset.py` of hkust-nlp/llm-compression-intelligence; arXiv 2404.09937, section 3.
"""

import dataclasses

from jaxbpc.errors import InputError

DOCUMENT_COLUMNS = ("first_token", "characters", "bytes", "row", "date", "subset")


@dataclasses.dataclass(frozen=True)
class Window:
    """One window: its inputs are tokens [begin, begin + n_inputs), its targets are one later.

    It scores the tokens [first_scored, end) of the stream, where end = begin + n_inputs + 1.
    """

    begin: int
    n_inputs: int
    first_scored: int

    @property
    def end(self) -> int:
        """One past the last target (a position in the stream)."""
        return self.begin + self.n_inputs + 1

    @property
    def n_scored(self) -> int:
        return self.end - self.first_scored


@dataclasses.dataclass(frozen=True)
class Plan:
    """All windows over `n_tokens` tokens. Positions are indices into the token stream.

    Raises:
      InputError: a stride outside 1..block_size, or no tokens to a window.
    """

    n_tokens: int
    block_size: int
    stride: int

    def __post_init__(self):
        if self.block_size < 1:
            raise InputError(
                f"config.window.block_size is {self.block_size}: give a positive number of tokens"
            )
        if not 1 <= self.stride <= self.block_size:
            raise InputError(
                f"config.window.stride is {self.stride}: give a number from 1 to block_size "
                f"({self.block_size}), so that each token is scored once"
            )

    @property
    def n_windows(self) -> int:
        """Windows of the reference number: floor((N - (B + 1)) / S) + 1, none where N <= B."""
        if self.n_tokens <= self.block_size:
            return 0
        return (self.n_tokens - (self.block_size + 1)) // self.stride + 1

    @property
    def n_scored(self) -> int:
        """Targets of the reference number; they are the tokens [1, 1 + n_scored)."""
        return self.block_size + self.stride * (self.n_windows - 1) if self.n_windows else 0

    @property
    def n_unscored(self) -> int:
        """Tokens that the reference number leaves out: token 0 and the tail."""
        return self.n_tokens - self.n_scored

    @property
    def n_tail(self) -> int:
        """Tokens after the last window of the reference number: those only `bpc_full` has."""
        return max(self.n_tokens - 1 - self.n_scored, 0)

    @property
    def n_all_windows(self) -> int:
        """Windows of the full number: one more than the reference's where there is a tail."""
        return self.n_windows + (self.n_tail > 0)

    def window(self, index: int) -> Window:
        """Window `index` of `n_all_windows`; the one after the reference's scores the tail."""
        if not 0 <= index < self.n_all_windows:
            raise IndexError(f"window {index} of {self.n_all_windows}")
        if index < self.n_windows:
            begin = index * self.stride
            n_new = self.stride if index else self.block_size
            return Window(begin, self.block_size, begin + self.block_size + 1 - n_new)
        n_inputs = min(self.block_size, self.n_tokens - 1)
        return Window(self.n_tokens - 1 - n_inputs, n_inputs, self.n_tokens - self.n_tail)

    def rows(self, index: int) -> int:
        """Rows of the head that window `index` needs: block_size for a first window, else stride.

        There are only these two, so that the step is compiled at most twice.
        """
        return self.block_size if index == 0 else self.stride
