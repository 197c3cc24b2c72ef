"""A user's mistake is one sentence and exit status 2, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.search.comparison.tiny_comparison import ready_made
from tests.search.conftest import Outcome
from tests.search.proxies.tiny_evaluation import SPACE, write_evaluation
from tests.search.test_bad_input import refusal

Winnow = Callable[..., Outcome]
LABELS = [
    f"convnet depth={depth} {norm} width={width}"
    for depth in (1, 2)
    for norm in ("none", "batch")
    for width in (4, 8, 12)
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, winnow: Winnow, *overrides: str) -> str:
    """Return the sentence, having seen that nothing was left behind."""
    before = {path.name for path in folder.iterdir()}
    sentence = refusal(winnow("proxy-eval", "tiny.yaml", *overrides))
    assert {path.name for path in folder.iterdir()} - before <= {"cache"}
    return sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"proxys": {}}, "unknown key 'proxys'. Did you mean 'proxies'?"),
        ({"proxies": {"nwto": {}}}, "'proxies' is not valid: must be one of parameters,"),
        ({"proxies": {"nwto": {}}}, "(did you mean 'nwot'?)"),
        ({"proxies": {"a": {"kind": "synflo"}}}, "(did you mean 'synflow'?)"),
        ({"proxies": {"a b": {"kind": "synflow"}}}, "must be letters, digits"),
        ({"proxies": {}}, "'proxies'"),
        ({"proxies": {"nwot": None}}, "every entry is null, so that nothing is left"),
        ({"proxies": {"nwot": {"replicates": 0}}}, "'proxies.nwot.replicates' must be an integer ≥ 1, not 0."),
        ({"proxies": {"nwot": {"settings": {"image": 4}}}}, "'proxies.nwot.settings.image'. Did you mean 'images'?"),
        ({"proxies": {"nwot": {"settings": {"images": 1}}}}, "'images' to be a whole number from 2 on, not 1"),
        ({"proxies": {"nwot": {"settings": {"images": 64}}}}, "but the class 'red' has 16"),
        ({"proxies": {"real": {"kind": "real_training", "settings": {"steps": [3, 2]}}}}, "which [3, 2] do not"),
        ({"proxies": {"real": {"kind": "real_training", "settings": {"measures": ["acuracy"]}}}}, "acuracy"),
        ({"proxies": {"s": {"kind": "distilled_training", "settings": {"set": "serch"}}}}, "no distilled set 'serch'"),
        ({"proxies": {"s": {"kind": "random_subset", "settings": {"ipc": 17}}}}, "fewer than the 17 asked for"),
        ({"combinations": {"both": {"of": ["nwot", "real@3"]}}}, "there is no score 'real@3'. Did you mean 'real@"),
        ({"combinations": {"nwot": {"of": ["nwot", "real@2"]}}}, "'combinations.nwot' has the name of a score."),
        ({"combinations": {"both": {"of": ["nwot"]}}}, "'combinations.both.of'"),
        (
            {"combinations": {"both": {"kind": "fitted", "of": ["nwot", "real@2"], "labelled": 10}}},
            "'combinations.both.labelled' is 10, more than the architectures outside one of 5 folds of 12.",
        ),
        (
            {"combinations": {"both": {"kind": "fitted", "of": ["nwot", "real@2"], "labelled": 5, "folds": 13}}},
            "'combinations.both.folds' is 13, more than the 12 architectures.",
        ),
        ({"truth": {"learning_rate": [0.01, 0.01]}}, "different learning rates"),
        ({"truth": {"directory": "tiny.yaml"}}, "'truth.directory': nothing can be kept in tiny.yaml"),
        ({"answers": {"baseline": "flops"}}, "'answers.baseline': there is no score 'flops'."),
        ({"space": {"kind": "convnet72"}}, "(did you mean 'convnet720'?)"),
        ({"space": {**SPACE, "architectures": 13}}, "'space.architectures' is 13, but there are 12"),
        ({"space": {**SPACE, "architectures": 9}}, "'space' has 9 architectures: there is no correlation without its"),
        ({"space": {**SPACE, "max_flops": 10}}, "'space.max_flops' is 10, which leaves no architecture"),
        ({"sets": {"search": "nowhere.safetensors"}}, "'sets.search'"),
        ({"truth": {"epochs": None}}, "needs either a table, or steps, or epochs"),
        ({"truth": {"steps": 3}}, "needs either a table, or steps, or epochs"),
        ({"truth": {"table": "truth.csv"}}, "has a table, so that epochs has no meaning: set it to its default."),
        ({"truth": {"accuracy": "acc"}}, "has no table, so that accuracy has no meaning"),
        ({"truth": {"table": "truth.csv", "epochs": None, "seeds": 2}}, "has a table, so that learning_rate has no"),
        ({"truth": {"learning_rate": []}}, "'truth.learning_rate' is an empty list."),
        ({"truth": {"recipe": {"epochs": 3}}}, "'epochs' stands in 'truth', not in 'truth.recipe'."),
        ({"truth": {"recipe": {"optimiser": "sgd"}}}, "'truth.recipe.optimiser'. Did you mean 'optimizer'?"),
        ({"data": {"root": "nowhere"}}, "There is no data folder nowhere"),
        ({"resources": {"concurrency": 9999}}, "resources.concurrency"),
    ],
)
def test_a_mistake_in_the_config(folder: Path, winnow: Winnow, changes: dict[str, Any], sentence: str) -> None:
    write_evaluation(folder, **changes)
    assert sentence in refused(folder, winnow)


def table(folder: Path, architectures: list[str], accuracies: list[float], column: str = "accuracy") -> str:
    pq.write_table(pa.table({"arch_str": architectures, column: accuracies}), folder / "truth.parquet")
    return "truth={table: truth.parquet}"


ACCURACIES = [number / 20 for number in range(12)]


@pytest.mark.parametrize(
    ("architectures", "accuracies", "column", "sentence"),
    [
        (LABELS[:9], ACCURACIES[:9], "accuracy", "9 rows"),
        (LABELS, [0.5] * 12, "accuracy", "are 0.5, so that there is no ranking"),
        (LABELS, ACCURACIES, "acuracy", "no column 'accuracy'. Did you mean 'acuracy'?"),
        ([*LABELS[:11], "convnet depth=3 none width=4"], ACCURACIES, "accuracy", "row 12"),
        ([*LABELS[:11], LABELS[3]], ACCURACIES, "accuracy", "rows 4, 12: architectures are repeated"),
        (LABELS, [*ACCURACIES[:11], float("nan")], "accuracy", "row 12"),
    ],
)
def test_a_mistake_in_the_table_of_accuracies(
    folder: Path, winnow: Winnow, architectures: list[str], accuracies: list[float], column: str, sentence: str
) -> None:
    write_evaluation(folder)
    assert sentence in refused(folder, winnow, table(folder, architectures, accuracies, column))


def test_a_set_for_other_images_is_refused(folder: Path, winnow: Winnow) -> None:
    ready_made(classes=("a", "b")).save(folder / "other.safetensors")
    proxies = {"s": {"kind": "distilled_training", "settings": {"set": "other"}}}
    write_evaluation(folder, sets={"other": "other.safetensors"}, proxies=proxies, combinations={})
    assert "'proxies.s'" in refused(folder, winnow)


def test_a_run_of_this_name_is_not_overwritten(folder: Path, winnow: Winnow) -> None:
    write_evaluation(folder)
    (folder / "runs" / "tiny").mkdir(parents=True)
    (folder / "runs" / "tiny" / "note.txt").write_text("mine")
    assert "is not empty and not a run" in refused(folder, winnow)


def test_a_spoilt_table_of_trainings_is_told_before_anything_is_written(folder: Path, winnow: Winnow) -> None:
    write_evaluation(folder)
    (folder / "truth").mkdir()
    (folder / "truth" / "trainings.parquet").write_text("spoilt")
    assert "'truth.directory'" in refused(folder, winnow)
