"""Two curves through few points, with what is not known about them.

A straight line of y over x (or over ln x), by least squares, as the paper draws scores over BPC:
RMSE = sqrt(SSE / n). Its prediction interval is Student's for one more point; leave-one-out errors
come from the hat matrix, without fitting again.

A power law y = floor + excess * (x / middle)^-exponent, with the middle of the x, for losses over
size or data; floor and excess are not negative. Only the exponent is searched for, the rest is
linear. Intervals come from the profile of the squared error (F of 1 and n - 3 degrees of freedom),
for they are lopsided where few points say little about the floor; the exponent's is open where it
reaches the end of those that are tried, 0.001 to 10. The floor is the curve's value at
infinity, so that one profile serves it and any prediction.
Source: Draper and Smith, Applied Regression Analysis, 1998, chapters 1, 8; Bates and Watts,
Nonlinear Regression Analysis, 1988, chapter 6.
"""

import dataclasses
import math

import numpy as np
from scipy import optimize, special

from jaxbpc.errors import InputError

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Line:
    """y = slope * u + intercept with u = x, or ln x where `logarithmic`. Arrays are [n] float64."""

    x: np.ndarray
    y: np.ndarray
    logarithmic: bool
    slope: float
    intercept: float
    pearson: float
    rmse: float
    left_out: np.ndarray  # each point's error, y less what the other points predict

    @property
    def loo_rmse(self) -> float:
        """Root mean square of the leave-one-out errors."""
        return float(np.sqrt(np.mean(self.left_out**2)))

    @property
    def slope_stderr(self) -> float:
        """Standard error of the slope."""
        return self._noise() / math.sqrt(_square(self._u(self.x)))

    def at(self, x: float) -> float:
        """The line's value at `x`."""
        return float(self.slope * self._u(x) + self.intercept)

    def predict(self, x: float) -> tuple[float, float, float]:
        """(value, low, high) of one more point at `x`, the interval at 95%."""
        u = self._u(self.x)
        spread = 1 + 1 / len(u) + (self._u(x) - u.mean()) ** 2 / _square(u)
        half = special.stdtrit(len(u) - 2, (1 + LEVEL) / 2) * self._noise() * math.sqrt(spread)
        value = self.at(x)
        return value, float(value - half), float(value + half)

    def without(self, *indices: int) -> "Line":
        """The line through all points but these. Raises InputError where fewer than 3 are left."""
        if not indices:
            return self
        x, y = np.delete(self.x, indices), np.delete(self.y, indices)
        return fit_line(x, y, self.logarithmic)

    def _noise(self) -> float:
        n = len(self.x)
        return self.rmse * math.sqrt(n / (n - 2))

    def _u(self, x):
        return np.log(x) if self.logarithmic else np.asarray(x, np.float64)


def fit_line(x: np.ndarray, y: np.ndarray, logarithmic: bool = False) -> Line:
    """Least squares. Raises InputError of fewer than 3 points, or all at one x."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 3 or np.ptp(x) == 0:
        raise InputError(f"a line with an interval needs 3 models of different BPC, not {len(x)}")
    u = np.log(x) if logarithmic else x
    du, dy = u - u.mean(), y - y.mean()
    slope = float(du @ dy / (du @ du))
    errors = dy - slope * du
    leverage = 1 / len(u) + du**2 / (du @ du)
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out = np.where(leverage < 1 - 1e-12, errors / (1 - leverage), np.nan)
        pearson = float(du @ dy / np.sqrt((du @ du) * (dy @ dy)))
    return Line(
        x,
        y,
        logarithmic,
        slope,
        float(y.mean() - slope * u.mean()),
        pearson,
        float(np.sqrt(np.mean(errors**2))),
        left_out,
    )


def _square(u: np.ndarray) -> float:
    return float(np.sum((u - u.mean()) ** 2))


# What the exponent is searched among.
EXPONENTS = 1e-3, 10.0
_LOG_EXPONENTS = np.linspace(math.log(EXPONENTS[0]), math.log(EXPONENTS[1]), 300)


@dataclasses.dataclass(frozen=True)
class Power:
    """y = floor + excess * (x / middle)^-exponent. Intervals are (low, high) at 95%.

    An end of the exponent's is infinite where no exponent that is tried ends it: it is open there.
    """

    x: np.ndarray
    y: np.ndarray
    middle: float
    floor: float
    excess: float
    exponent: float
    rmse: float
    floor_interval: tuple[float, float]
    exponent_interval: tuple[float, float]
    determined: bool  # none beyond those that are tried would be a better exponent

    def at(self, x):
        """The curve's value at `x`, a number or an array."""
        return self.floor + self.excess * (x / self.middle) ** -self.exponent

    def predict(self, x: float) -> tuple[float, float, float]:
        """(value, low, high) of one more point at `x`, the interval at 95%."""
        value, n = float(self.at(x)), len(self.x)
        low, high = _value_interval(self.x / self.middle, self.y, x / self.middle, value)
        # The curve's own uncertainty, lopsided, and one point's noise about it.
        noise = self.rmse * math.sqrt(n / (n - 3)) * special.stdtrit(n - 3, (1 + LEVEL) / 2)
        return (
            value,
            value - math.hypot(value - low, noise),
            value + math.hypot(high - value, noise),
        )


def fit_power(x: np.ndarray, y: np.ndarray, of: str = "size") -> Power:
    """Least squares. Raises InputError of fewer than 4 different, positive x, which `of` names."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(np.unique(x)) < 4 or (x <= 0).any():
        raise InputError(
            f"a power law with a floor needs 4 checkpoints of different, positive {of}, not "
            f"{len(np.unique(x[x > 0]))}: give more of them, or another --x"
        )
    middle = float(np.exp(np.mean(np.log(x))))
    z = x / middle

    def error(exponent):
        return _linear_part(z, y, exponent)[2]

    best, least = _minimum(error)
    floor, excess, _ = (float(part[0]) for part in _linear_part(z, y, np.array([best])))
    limit = _limit(least, y)

    def beyond(log_exponent: float) -> float:
        return float(error(np.exp([log_exponent]))[0]) - limit

    ends = [
        math.exp(optimize.brentq(beyond, *sorted((math.log(best), end))))
        if beyond(end) > 0
        else outside
        for end, outside in ((_LOG_EXPONENTS[0], -math.inf), (_LOG_EXPONENTS[-1], math.inf))
    ]
    return Power(
        x,
        y,
        middle,
        floor,
        excess,
        best,
        math.sqrt(least / len(x)),
        _value_interval(z, y, math.inf, floor),
        (ends[0], ends[1]),
        # By the error: where steep curves are all alike, the best one is of chance digits.
        bool(error(np.array(EXPONENTS)).min() > least * (1 + 1e-9)),
    )


def _linear_part(z: np.ndarray, y: np.ndarray, exponents: np.ndarray):
    """(floor, excess, squared error) of the best curve of each exponent; neither is negative."""
    w = z ** -exponents[:, None]
    dw = w - w.mean(1, keepdims=True)
    excess = np.maximum(dw @ y / np.sum(dw**2, 1), 0)
    floor = y.mean() - excess * w.mean(1)
    excess = np.where(floor < 0, np.maximum(w @ y / np.sum(w**2, 1), 0), excess)
    floor = np.maximum(floor, 0)
    return floor, excess, np.sum((y - floor[:, None] - excess[:, None] * w) ** 2, 1)


def _value_error(z: np.ndarray, y: np.ndarray, at: float, value: float) -> float:
    """The least squared error of curves through `value` at `at`."""

    def error(exponents: np.ndarray) -> np.ndarray:
        there = at**-exponents
        w = z ** -exponents[:, None] - there[:, None]
        # Convex in the excess, so that its bounds can be put on afterwards.
        most = np.divide(value, there, out=np.full_like(there, np.inf), where=there > 0)
        excess = np.clip(w @ (y - value) / np.sum(w**2, 1), 0, most)
        return np.sum((y - value - excess[:, None] * w) ** 2, 1)

    return _minimum(error)[1]


def _value_interval(z: np.ndarray, y: np.ndarray, at: float, value: float) -> tuple[float, float]:
    """Values at `at` of all curves that the points allow; floors are not negative."""
    limit = _limit(_value_error(z, y, at, value), y)

    def excess_error(v: float) -> float:
        return _value_error(z, y, at, v) - limit

    ends = []
    for sign in (-1, 1):
        inner, step = value, 1e-4 * float(np.abs(y).max())
        while excess_error(outer := max(value + sign * step, 0.0)) < 0 and outer > 0:
            inner, step = outer, 2 * step
        ends.append(optimize.brentq(excess_error, inner, outer) if excess_error(outer) > 0 else 0.0)
    return ends[0], ends[1]


def _minimum(error) -> tuple[float, float]:
    """(exponent, squared error) at the least error: over a grid, then ever closer about it."""
    grid = _LOG_EXPONENTS
    for _ in range(5):
        values = error(np.exp(grid))
        i = int(np.argmin(values))
        best = math.exp(grid[i]), float(values[i])
        grid = np.linspace(grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)], 41)
    return best


def _limit(least: float, y: np.ndarray) -> float:
    """The squared error up to which a curve is within the 95% region."""
    n = len(y)
    # Points on the curve to the last digit: rounding is all the noise there is.
    least = max(least, n * (1e-12 * float(np.abs(y).max())) ** 2)
    return least * (1 + special.fdtri(1, n - 3, LEVEL) / (n - 3))
