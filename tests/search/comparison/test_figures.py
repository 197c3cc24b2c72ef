from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.comparison.figures import (
    accuracy_against_all_spent,
    accuracy_against_image_gradients,
    accuracy_against_processor_seconds,
    accuracy_against_sparsity,
    interpolation,
    layer_density,
    write_figures,
)
from search.output.drawing import LINE, SMALL, _limits, _spread_out, _width
from search.output.panels import Axis, Level, Line, Panel, Style, round_ticks, shade, style
from tests.search.comparison.result_rows import DENSITIES, comparison, dense, result

KINDS = [
    "accuracy-sparsity",
    "accuracy-image-gradients",
    "accuracy-processor-seconds",
    "accuracy-total-image-gradients",
    "accuracy-total-processor-seconds",
    "interpolation",
    "layer-density",
]
PUBLISHED = [("paper, IMP", [0.59, 0.89], [0.81, 0.812])]


def texts(path: Path) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def coordinates(path: Path) -> list[float]:
    drawn = re.findall(r' d="([^"]*)"', path.read_text(encoding="utf-8"))
    return [float(number) for one in drawn for number in re.sub("[MLCQZz]", " ", one).split()]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("figures")
    return {path.name.removesuffix("-convnet.svg"): path for path in write_figures(comparison(), folder, PUBLISHED)}


class TestFiles:
    def test_one_a_kind(self, figures: dict[str, Path]) -> None:
        assert list(figures) == KINDS

    @pytest.mark.parametrize("kind", KINDS)
    def test_coordinates_are_finite_and_labels_are_there(self, kind: str, figures: dict[str, Path]) -> None:
        numbers = coordinates(figures[kind])
        assert len(numbers) > 50
        assert all(map(math.isfinite, numbers))
        words = texts(figures[kind])
        families = kind.startswith("accuracy-") and kind != "accuracy-sparsity"
        for name in ("imp", "subset") if families else ("imp-15", "distilled-500", "subset-50"):
            assert name in words
        assert any(word.startswith(("random", "snip")) for word in words)

    def test_labels_stay_inside_the_picture(self, figures: dict[str, Path]) -> None:
        for path in figures.values():
            width = float(ET.parse(path).getroot().attrib["viewBox"].split()[2])
            for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text"):
                # Labels beside a panel are the small ones that start at their place.
                style = element.attrib.get("style", "")
                if f"font: {SMALL:g}px" in style and "text-anchor" not in style and "x" in element.attrib:
                    right = float(element.attrib["x"]) + 72 * _width("".join(element.itertext()).strip())
                    assert right <= width

    def test_published_curves_are_dotted_and_named(self, figures: dict[str, Path]) -> None:
        assert "paper, IMP" in texts(figures["accuracy-sparsity"])

    def test_the_same_bytes_again_whatever_the_users_settings(self, figures: dict[str, Path], tmp_path: Path) -> None:
        with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": "other"}):
            again = write_figures(comparison(), tmp_path, PUBLISHED)
            assert matplotlib.rcParams["font.size"] == 30
        assert [path.read_bytes() for path in again] == [path.read_bytes() for path in figures.values()]
        assert "<dc:date>" not in again[0].read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("rows", "kinds"),
        [
            ([], []),
            ([dense()], []),
            ([result(accuracy=None, status="collapsed")], []),
            ([result()], KINDS[:5]),
            ([result("random", mask_image_gradients=0)], [KINDS[0], *KINDS[3:5]]),
            ([result(mask_processor_seconds=0.0)], [*KINDS[:2], *KINDS[3:5]]),
            ([result(train_image_gradients=None, train_processor_seconds=None)], KINDS[:3]),
            ([result(accuracy=0.1, seed=seed, status="collapsed") for seed in range(2)], KINDS[:5]),
            ([result(sparsity=1.0, accuracy=0.1)], KINDS[1:5]),
            ([result(accuracy=None, layer_densities=[{"name": "a", "density": 0.0}])], KINDS[6:]),
            ([result(accuracy=None, positions=[0.0, 1.0], path_errors=[0.3, 0.3])], KINDS[5:6]),
        ],
    )
    def test_what_the_rows_allow(self, rows: list[dict], kinds: list[str], tmp_path: Path) -> None:
        written = write_figures(rows, tmp_path)
        assert [path.name.removesuffix("-convnet.svg") for path in written] == kinds
        assert all(all(map(math.isfinite, coordinates(path))) for path in written)

    def test_one_file_a_network(self, tmp_path: Path) -> None:
        written = write_figures([result(), result(network="vgg/11 <b>")], tmp_path)
        assert {path.name for path in written if "sparsity" in path.name} == {
            "accuracy-sparsity-convnet.svg",
            "accuracy-sparsity-vgg-11-b-.svg",
        }


class TestPanels:
    def test_accuracy_against_all_that_was_spent(self) -> None:
        """Mask and training, in the mean over seeds; a line a family, of which dense is one that has no mask."""
        rows = [
            dense(0, 0.75, mask_image_gradients=0, train_image_gradients=5000),
            result("imp-5", 0, 0.5, mask_image_gradients=1000, train_image_gradients=3000),
            result("imp-5", 1, 0.6, mask_image_gradients=2000, train_image_gradients=3000),
            result("imp-9", 0, 0.7, mask_image_gradients=8000, train_image_gradients=3000),
            result("imp-9", 1, None, mask_image_gradients=8000, train_image_gradients=None),
            result("gradual", 0, 0.65, mask_image_gradients=0, train_image_gradients=4000),
        ]
        [panel] = accuracy_against_all_spent(rows, "image_gradients")
        found = {line.label: (list(line.x), list(line.y), list(line.spread)) for line in panel.lines}
        assert found == {
            "dense": ([5000], [75], [None]),
            "imp": ([4500, 11000], pytest.approx([55, 70]), [pytest.approx(100 * math.sqrt(0.005)), None]),
            "gradual": ([4000], [65], [None]),
        }

    def test_accuracy_against_sparsity(self) -> None:
        rows = [dense(0, 0.75), result(seed=0, accuracy=0.6), result(seed=1, accuracy=0.7), result(target_sparsity=0.5)]
        [panel] = accuracy_against_sparsity(rows)
        [line] = panel.lines
        assert list(line.x) == pytest.approx([0.5, 0.1])
        assert list(line.y) == pytest.approx([70, 65])
        assert line.spread == [None, pytest.approx(100 * math.sqrt(0.005))]
        assert [(level.label, level.y) for level in panel.levels] == [("dense", 75)]
        assert [name for _, name in panel.x.ticks] == ["50", "90"]

    def test_many_methods_get_a_panel_a_family(self) -> None:
        panels = accuracy_against_sparsity(comparison())
        assert [panel.title for panel in panels] == ["imp", "distilled", "subset", "others"]
        for panel, own in zip(panels, (4, 4, 4, 3), strict=True):
            assert len(panel.lines) == 15
            assert sum(bool(line.label) for line in panel.lines) == own

    def test_accuracy_against_cost(self) -> None:
        rows = [
            dense(),
            result("imp-1", 0, 0.5, mask_image_gradients=100, mask_processor_seconds=7.0),
            result("imp-2", 0, 0.6, mask_image_gradients=1000, mask_processor_seconds=5.0),
            result("random", 0, 0.4, mask_image_gradients=0),
        ]
        [panel] = accuracy_against_image_gradients(rows)
        assert [(line.label, line.x, line.y) for line in panel.lines] == [("imp", [100, 1000], [50, 60])]
        assert [(level.label, level.y) for level in panel.levels] == [("dense", 75), ("random", 40)]
        [panel] = accuracy_against_processor_seconds(rows)
        assert (panel.lines[0].x, panel.lines[0].y) == ([5, 7], [60, 50])

    def test_interpolation_is_the_mean_over_seeds(self) -> None:
        curves: tuple[dict[str, Any], ...] = ({"path_errors": [0.2, 0.4, 0.2]}, {"path_errors": [0.4, 0.4, 0.2]})
        rows = [result(seed=seed, positions=[0.0, 0.5, 1.0], **one) for seed, one in enumerate(curves)]
        rows.append(result(seed=2, positions=[0.0, 1.0], path_errors=[0.3, 0.2]))
        [panel] = interpolation(rows)
        # The third seed's curve is 0.25 halfway.
        assert list(panel.lines[0].y) == pytest.approx([30, 35, 20])

    def test_layer_density_is_at_the_highest_sparsity_or_the_one_asked_for(self) -> None:
        rows = [result(seed=seed, layer_densities=DENSITIES) for seed in range(2)]
        rows.append(result(target_sparsity=0.5, layer_densities=[{"name": "features.0.weight", "density": 0.9}]))
        [panel] = layer_density(rows)
        assert list(panel.lines[0].y) == pytest.approx([40, 10])
        assert [name for _, name in panel.x.ticks] == ["features.0", "classifier"]
        assert list(layer_density(rows, 0.5)[0].lines[0].y) == pytest.approx([90])
        assert layer_density(rows, 0.7) == []

    def test_a_layer_without_weights_is_at_the_edge(self) -> None:
        layers = [{"name": "a", "density": 0.5}, {"name": "b", "density": 0.0}]
        [panel] = layer_density([result(layer_densities=layers)])
        assert panel.lines[0].y == [50, 25]


class TestDrawing:
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
    def test_labels_never_overlap_and_stay_beside_the_panel(self, heights: list[float]) -> None:
        places = _spread_out(sorted(heights), 0.08)
        assert all(later - earlier >= 0.08 - 1e-9 for earlier, later in pairwise(places))
        assert places[0] >= -1e-9
        assert places[-1] <= 1 + 1e-9

    def test_labels_apart_stay_where_they_are(self) -> None:
        assert _spread_out([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
        assert _spread_out([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])

    def test_a_label_is_lower_than_the_lines_are_apart(self) -> None:
        assert SMALL / 72 < LINE

    def test_a_cut_panel_leaves_out_what_collapsed(self) -> None:
        lines = [Line("imp", [1, 2, 3, 4], [70, 68, 66, 64], style(0))]
        levels = [Level("random", 10, Style("#000000"))]
        whole = _limits(Panel("", Axis(""), Axis(""), lines, levels))
        cut = _limits(Panel("", Axis(""), Axis(""), lines, levels, cut=True))
        assert whole[0] < 10
        assert 60 < cut[0] < 64

    def test_a_band_does_not_stretch_an_axis_beyond_what_can_be(self) -> None:
        line = Line("imp", [1, 2], [90, 50], style(0), [30, 60])
        low, high = _limits(Panel("", Axis(""), Axis("", bounds=(0, 100)), [line]))
        assert (low, high) == (-4, 104)

    def test_looks_differ(self) -> None:
        styles = [style(number) for number in range(63)]
        assert len({(one.colour, one.marker) for one in styles}) == 63
        shades = [shade(style(0), number, 5) for number in range(5)]
        assert len({one.colour for one in shades}) == 5
        assert shades[-1].colour.lower() == style(0).colour.lower()

    def test_ticks_of_logarithmic_axes(self) -> None:
        assert [name for _, name in round_ticks(800, 2e6)] == ["1k", "10k", "100k", "1M"]
        assert [name for _, name in round_ticks(9, 110)] == ["10", "20", "50", "100"]
        assert [name for _, name in round_ticks(3, 6)] == ["3", "4", "5", "6"]
        assert round_ticks(7, 7) == [(7, "7")]
