"""Lines and power laws against scipy, refitting and curves that are known."""

import numpy as np
import pytest
from scipy import stats

from jaxbpc.errors import InputError
from jaxbpc.fit import regression


def points(seed=0, n=12):
    random = np.random.default_rng(seed)
    x = random.uniform(0.3, 0.7, n)
    return x, 1.4 - 2 * x + 0.03 * random.standard_normal(n)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_line_is_scipys(logarithmic):
    x, y = points()
    line = regression.fit_line(x, y, logarithmic)
    want = stats.linregress(np.log(x) if logarithmic else x, y)
    assert line.slope == pytest.approx(want.slope, rel=1e-12)
    assert line.intercept == pytest.approx(want.intercept, rel=1e-12)
    assert line.pearson == pytest.approx(want.rvalue, rel=1e-12)
    assert line.slope_stderr == pytest.approx(want.stderr, rel=1e-10)
    errors = y - line.intercept - line.slope * (np.log(x) if logarithmic else x)
    assert line.rmse == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-10)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_leaving_out_is_fitting_again(logarithmic):
    x, y = points()
    line = regression.fit_line(x, y, logarithmic)
    again = [y[i] - line.without(i).at(x[i]) for i in range(len(x))]
    np.testing.assert_allclose(line.left_out, again, rtol=1e-9)
    assert line.loo_rmse > line.rmse


def test_a_prediction_covers_one_more_point():
    """Within the fitted range and far outside of it, 95% of new points are in the interval."""
    hits = []
    for seed in range(1000):
        x, y = points(seed, 8)
        line = regression.fit_line(x, y)
        new = np.random.default_rng([seed, 1]).standard_normal(2)
        for at, noise in zip((0.5, 1.5), new, strict=True):
            _, low, high = line.predict(at)
            hits.append(low <= 1.4 - 2 * at + 0.03 * noise <= high)
    within, outside = np.mean(np.reshape(hits, (-1, 2)), axis=0)
    assert 0.93 <= within <= 0.97
    assert 0.93 <= outside <= 0.97


@pytest.mark.parametrize("x", [[0.4, 0.5], [0.4, 0.4, 0.4]])
def test_too_little_for_a_line(x):
    with pytest.raises(InputError, match="3 models of different BPC"):
        regression.fit_line(np.array(x), np.array(x))


SIZES = np.array([1e8, 3e8, 1e9, 3e9, 1e10, 3e10, 7e10])


def curve(x):
    return 0.35 + 0.5 * (x / 1e8) ** -0.3


def test_a_power_law_without_noise():
    law = regression.fit_power(SIZES, curve(SIZES))
    assert law.floor == pytest.approx(0.35, abs=1e-6)
    assert law.exponent == pytest.approx(0.3, abs=1e-6)
    np.testing.assert_allclose(law.at(SIZES), curve(SIZES), rtol=1e-7)
    value, low, high = law.predict(4e11)
    assert value == pytest.approx(curve(4e11), abs=1e-6)
    assert high - low < 1e-5


def test_a_power_law_is_scipys():
    """The best curve is curve_fit's, which searches in all three parameters at once."""
    from scipy import optimize

    y = curve(SIZES) + 0.005 * np.random.default_rng(0).standard_normal(len(SIZES))
    law = regression.fit_power(SIZES, y)
    found, _ = optimize.curve_fit(
        lambda x, floor, excess, exponent: floor + excess * (x / law.middle) ** -exponent,
        SIZES,
        y,
        (0.3, 0.2, 0.4),
    )
    np.testing.assert_allclose([law.floor, law.excess, law.exponent], found, rtol=1e-4)


def test_power_laws_intervals_cover():
    """Floor, exponent and one more point, far outside of the range: 95% of draws."""
    hits = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        law = regression.fit_power(SIZES, curve(SIZES) + 0.005 * random.standard_normal(len(SIZES)))
        _, low, high = law.predict(4e11)
        new = curve(4e11) + 0.005 * random.standard_normal()
        limits = (law.floor_interval, 0.35), (law.exponent_interval, 0.3), ((low, high), new)
        hits.append([low <= truth <= high for (low, high), truth in limits])
    covered = np.mean(hits, axis=0)
    # 200 draws have a standard error of 1.5%.
    assert (np.abs(covered - 0.95) <= 0.03).all(), covered


def test_a_pure_power_law_has_no_floor():
    y = 0.5 * (SIZES / 1e8) ** -0.1 + 0.01 * np.random.default_rng(1).standard_normal(len(SIZES))
    law = regression.fit_power(SIZES, y)
    assert law.floor_interval[0] == 0
    sure = regression.fit_power(SIZES, curve(SIZES) + 1e-4 * np.cos(SIZES))
    assert 0.3 < sure.floor_interval[0] < 0.35
    assert law.predict(1e14)[0] > 0


def f_ratio(x, y, exponent, best):
    """By how much an exponent's squared error is more than the best's, as F has it."""

    def error(e):
        basis = np.stack([np.ones(len(x)), (x / x[0]) ** -e], 1)
        return np.linalg.lstsq(basis, y, rcond=None)[1][0]

    return (error(exponent) / error(best) - 1) * (len(x) - 3)


STEEP = np.array([1e8, 2e8, 4e8, 8e8, 16e8]), np.array([0.9, 0.5, 0.5001, 0.4999, 0.5])


def test_an_exponents_interval_is_open_where_no_exponent_ends_it():
    """Steps down at once: the steeper the better, whatever is tried."""
    law = regression.fit_power(*STEEP)
    low, high = law.exponent_interval
    assert (high, law.determined) == (np.inf, False)
    assert f_ratio(*STEEP, 100, 10) < 0
    # Bounded where it is found: Student's quantile, squared, is F's.
    assert f_ratio(*STEEP, low, 10) == pytest.approx(stats.t.ppf(0.975, 2) ** 2, rel=1e-6)


def test_a_determined_exponent_may_have_an_open_interval():
    """Falls ever faster, as no power law does: any exponent is about as bad."""
    law = regression.fit_power(STEEP[0], np.array([0.5, 0.501, 0.4, 0.3, 0.1]))
    assert law.determined
    assert law.exponent_interval == (-np.inf, np.inf)
    sure = regression.fit_power(SIZES, curve(SIZES) + 1e-4 * np.cos(SIZES))
    assert sure.determined
    assert np.isfinite(sure.exponent_interval).all()


def test_steep_curves_that_are_all_alike_determine_no_exponent():
    """Of points this far apart all exponents near the end have one error, to the last digits."""
    law = regression.fit_power(np.geomspace(1e8, 1e12, 5), STEEP[1])
    assert not law.determined
    assert law.exponent_interval[1] == np.inf


@pytest.mark.parametrize("x", [[1e8, 1e9, 1e10], [1e8, 1e9, 1e9, 1e10], [-1, 1, 2, 3]])
def test_too_little_for_a_power_law(x):
    with pytest.raises(InputError, match="4 checkpoints"):
        regression.fit_power(np.array(x), np.ones(len(x)))
