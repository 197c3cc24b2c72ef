"""What is known of the sets that methods train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dp_core.data.preprocessing import ZCA
from dp_core.distillation import DistilledSet
from search.comparison.preparation import ComparisonPreparation, prepare_comparison
from search.comparison.sets import set_facts, sets_at_hand
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.progress import Progress
from tests.search.comparison.tiny_comparison import comparison_config, ready_made
from tests.search.tiny import write_images
from tests.trainables.laboratory.comparisons import DENSE, DISTILLED, method, untrained

METHODS = {
    "dense": DENSE,
    "imp": method(),
    "distilled": DISTILLED,
    "mtt": method("mtt", source="mtt"),
    "subset": method("subset", source="subset", images_per_class=2, space="mtt"),
    "combined": method("combined", parent="distilled", start_sparsity=0.5),
    "both": method("both", source="mtt", parent="distilled", start_sparsity=0.5),
    "twice": method("twice", source="distilled", images_per_class=2, parent="distilled", start_sparsity=0.5),
    "random": untrained("random"),
}


def made_for(image_gradients: int | None) -> DistilledSet:
    cost = {} if image_gradients is None else {"cost": {"image_gradients": image_gradients, "seconds": 1.5}}
    return replace(ready_made(), provenance=cost)


def whitened(image_gradients: int | None) -> DistilledSet:
    plain = made_for(image_gradients)
    return replace(plain, preprocessing=ZCA.fit(plain.images))


def costs(sets: dict[str, DistilledSet]) -> dict[str, tuple[int | None, float | None]]:
    return {name: (of["set_image_gradients"], of["set_seconds"]) for name, of in set_facts(METHODS, sets).items()}


def test_costs_are_those_of_every_set_that_a_mask_rests_on() -> None:
    found = costs({"distilled-2": made_for(100), "mtt": whitened(7)})
    assert found["distilled"] == found["combined"] == found["twice"] == (100, 1.5)  # one set is made once
    assert found["both"] == (107, 3.0)
    assert {found[name] for name in ("dense", "imp", "subset", "random")} == {(None, None)}


@pytest.mark.parametrize(
    "sets", [{"distilled-2": made_for(100), "mtt": whitened(None)}, {"distilled-2": made_for(100)}]
)
def test_an_imported_set_and_one_that_is_not_there_have_no_cost(sets: dict[str, DistilledSet]) -> None:
    found = costs(sets)
    assert found["mtt"] == found["both"] == (None, None)
    assert found["distilled"] == (100, 1.5)


def test_the_space_is_that_of_the_images_of_the_rounds() -> None:
    facts = set_facts(METHODS, {"distilled-2": made_for(1), "mtt": whitened(1)})
    assert {name: of["space"] for name, of in facts.items()} == {
        **dict.fromkeys(("imp", "distilled", "combined", "twice"), "standardised"),
        **dict.fromkeys(("mtt", "subset", "both"), "whitened"),
        **dict.fromkeys(("dense", "random")),
    }


@pytest.fixture
def prepared(tmp_path: Path) -> ComparisonPreparation:
    write_images(tmp_path / "images")
    ready_made().save(tmp_path / "mtt.safetensors")
    methods = {"distilled": {"source": "distilled", "ipc": 2, "steps": 2}}
    config = comparison_config(tmp_path, methods=methods, sets={"mtt": str(tmp_path / "mtt.safetensors")})
    return prepare_comparison(config, "comparison.yaml", local=False)


def test_sets_of_the_library_are_found_and_never_made(prepared: ComparisonPreparation) -> None:
    assert list(sets_at_hand(prepared)) == ["mtt"]
    folder = prepared.config.distill.directory
    assert not folder.exists()
    wanted = {"distilled-2": (prepared.distiller, 2)}
    made = make_sets(wanted, prepared.splits, folder, 0, RunDirectory(folder.parent), Progress(quiet=True))
    found = sets_at_hand(prepared)
    assert found["distilled-2"].digest == made["distilled-2"].digest
    [path] = folder.glob("*.safetensors")
    path.write_bytes(b"damaged")
    assert list(sets_at_hand(prepared)) == ["mtt"]
