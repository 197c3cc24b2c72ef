"""Exponents are those of known laws, points are varied one thing at a time, and the figure shows all of them."""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.growth import Point, exponent, fit, flops_of_image, measure, panels_of, series_of
from benchmarks.growth_panel import growth_panel
from search.output.drawing import save


def options() -> argparse.Namespace:
    return argparse.Namespace(
        images=[500, 1000],
        epochs=[1, 2],
        widths=[8, 16],
        members=[1, 4],
        base=[1000, 2, 16],
        population_width=4,
        batch_size=128,
        side=8,
    )


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power: float) -> None:
    x = [500.0, 1000.0, 3000.0, 8000.0]
    assert exponent(x, [0.3 * value**power for value in x]) == pytest.approx(power)


def test_the_exponent_is_a_least_squares_fit() -> None:
    # In logarithms to base 2: (0, 0), (1, 2), (2, 1). Means 1 and 1; slope = ((-1)(-1) + 0 + 1·0) / 2 = 1/2.
    assert exponent([1, 2, 4], [1, 4, 2]) == pytest.approx(0.5)
    assert exponent([3.0], [1.0]) is None


def test_one_thing_at_a_time_is_varied() -> None:
    for name, points in series_of(options()).items():
        varied = name.split()[0]
        for first, second in pairwise(points):
            differing = {key for key, value in vars(first).items() if value != vars(second)[key]}
            assert differing == {varied}


def test_floating_point_operations_are_those_counted_by_hand() -> None:
    # One multiplication and one addition for each weight and place; backward twice that, but no gradient of the images.
    width = 8
    first, second, third, linear = 3 * width * 9 * 64, width * width * 9 * 16, width * width * 9 * 4, width * 10
    by_hand = 2 * (2 * first + 3 * (second + third + linear))
    assert flops_of_image(Point(1, 1, width, 1, side=8)) == by_hand


def test_a_fit_has_all_points_and_all_repetitions() -> None:
    points = series_of(options())["width"]
    seconds = {points[0]: [1.0, 1.2, 1.1], points[1]: [4.0, 4.4, 4.8]}
    found = fit("width", points, seconds)
    assert found["median_seconds"] == [1.1, 4.4]
    assert [point["seconds"] for point in found["points"]] == list(seconds.values())
    assert found["exponent_against_width"] == pytest.approx(2)
    assert found["exponent"] < 2  # the first layer grows linearly, so the work grows less than fourfold


def test_single_trainings_and_populations_can_be_measured() -> None:
    small = Point(16, 1, 4, 8, side=8)
    points = [small, Point(16, 1, 4, 8, 8, members=2), Point(16, 1, 4, 8, 8, members=2, strategy="batched")]
    assert all(seconds > 0 for seconds in measure(points, "cpu"))


def test_the_figure_shows_every_point(tmp_path: Path) -> None:
    fitted = {
        name: fit(name, points, {point: [1.0 + index] for index, point in enumerate(points)})
        for name, points in series_of(options()).items()
    }
    panels = panels_of(fitted)
    assert [panel.title for panel in panels] == ["Images", "Epochs", "Width", "Population"]
    assert sum(len(line.x) for panel in panels for line in panel.lines if line.label) == 10
    assert [name for _, name in panels[2].x.ticks] == ["8", "16"]
    save(panels, tmp_path / "growth.svg")
    texts = {text.text for text in ET.parse(tmp_path / "growth.svg").iter("{http://www.w3.org/2000/svg}text")}
    assert {"Images", "Epochs", "Width", "Population", "seconds", "8", "16", "in_turn: exponent 0.50"} <= texts


def test_a_line_of_slope_one_goes_through_linear_points() -> None:
    panel = growth_panel("growth", "x", "y", {"s": [(1, 10), (10, 100), (100, 200)]})
    linear, points = panel.lines
    assert (linear.x, linear.y) == ((1, 100), (10, 1000))
    assert (points.x, points.y) == ([1, 10, 100], [10, 100, 200])
    assert (panel.x.scale, panel.y.scale) == ("log", "log")
    assert [value for value, _ in panel.y.ticks] == [10, 100, 1000]
