"""Reading a learning rate off a curve."""

from __future__ import annotations

import math
import random

import pytest

from tui_tuner.planning.range_suggestion import (
    evaluate_range_curve,
    plot_range_curve,
    smooth_range_curve,
    space_range_rates,
)


def curve(rates, low=1e-4, turn=1e-2, noise=0.0, seed=0):
    """Falls from 4 to 2 around `low` on a log scale, and rises beyond `turn`."""
    draw = random.Random(seed)
    return [
        2
        + 2 / (1 + (rate / low) ** 2)
        + (5 * math.log(rate / turn) ** 2 if rate > turn else 0)
        + draw.gauss(0, noise)
        for rate in rates
    ]


def test_rates_grow_by_one_factor():
    rates = space_range_rates(1e-6, 1, 7)
    assert rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    with pytest.raises(ValueError, match="low < high"):
        space_range_rates(1, 1, 5)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_suggestion_is_the_smaller_of_steepest_and_a_tenth_of_the_lowest(noise):
    rates = space_range_rates(1e-6, 0.1, 120)
    found = evaluate_range_curve(rates, curve(rates, noise=noise)).suggestion
    assert found.steepest == pytest.approx(1e-4, rel=0.6)  # the logistic curve's own steepest place
    assert 1e-4 < found.tenth_of_lowest < 1.5e-3
    assert found.rate == min(found.steepest, found.tenth_of_lowest)


def test_a_narrow_valley_gives_a_tenth_of_its_floor():
    rates = space_range_rates(1e-6, 0.1, 120)
    found = evaluate_range_curve(rates, curve(rates, low=1e-3, turn=2e-3)).suggestion
    assert found.rate == found.tenth_of_lowest < found.steepest and "tenth" in found.why


@pytest.mark.parametrize("losses", [[3.0] * 60, [3 + 0.01 * i for i in range(60)]])
def test_no_fall_no_suggestion(losses):
    found = evaluate_range_curve(space_range_rates(1e-6, 1e-1, 60), losses).suggestion
    assert found.rate is None and "fell by" in found.why


def test_noise_alone_suggests_nothing():
    rates = space_range_rates(1e-6, 1e-1, 100)
    suggested = 0
    for seed in range(40):
        draw = random.Random(seed)
        suggested += (
            evaluate_range_curve(rates, [3 + draw.gauss(0, 0.3) for _ in rates]).suggestion.rate is not None
        )
    assert suggested <= 10


def test_few_steps_suggest_nothing():
    found = evaluate_range_curve([1e-4, 1e-3], [3.0, 2.0]).suggestion
    assert found.rate is None and "only 2 steps" in found.why


def test_smoothing_keeps_a_line_and_moves_nothing():
    line = [float(i) for i in range(50)]
    assert smooth_range_curve(line)[10:40] == pytest.approx(line[10:40])
    peak = smooth_range_curve([0.0] * 25 + [1.0] + [0.0] * 25)
    assert max(peak) == peak[25] and sum(peak) == pytest.approx(1.0)


def test_the_plot_marks_the_curve_and_the_suggestion():
    rates = space_range_rates(1e-6, 0.1, 80)
    test = evaluate_range_curve(rates, curve(rates))
    lines = plot_range_curve(test, width=72, height=14)
    assert len(lines) == 15 and all(len(line) <= 72 for line in lines)
    column = next(line.index("│") for line in lines if "│" in line)
    wanted = (math.log10(test.suggestion.rate) + 6) / 5 * 62 + 9
    assert column == pytest.approx(wanted, abs=1)
    assert "1e-06" in lines[-1] and "1e-01" in lines[-1]
    assert plot_range_curve(evaluate_range_curve(rates, [2.0] * 80))  # a flat curve is drawn too
