"""A user's mistake is one sentence and exit status 2, before Ray starts and with nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.search.conftest import Outcome
from tests.search.tiny import write_config, write_images

Winnow = Callable[..., Outcome]

PROGRAM = Path(sys.executable).with_name("winnow")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with the images in it, and fail if Ray is started."""

    def never(*arguments: object, **settings: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "init", never)
    write_images(tmp_path / "images")
    return tmp_path


def refusal(outcome: Outcome) -> str:
    """Return the one sentence of a refused command."""
    assert outcome.status == 2
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("winnow: ")
    return lines[0].removeprefix("winnow: ")


def left_behind(folder: Path, expected: Sequence[str] = ()) -> set[str]:
    """Return what a command made; decoded images in the cache are found again, whatever becomes of the command."""
    return {path.name for path in folder.iterdir()} - {"images", "cache", "tiny.yaml", *expected}


NO_CHOICE = {"model": {"pooling": "max"}, "sparsity": 0.5, "source": "real", "ipc": None}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        # keys that there are not
        ({"serch": {"trials": 3}}, "unknown key 'serch'. Did you mean 'search'?"),
        ({"search": {"trails": 3}}, "unknown key 'search.trails'. Did you mean 'trials'?"),
        ({"space": {"sparsty": 0.5}}, "no key 'space.sparsty'. Did you mean 'sparsity'?"),
        ({"space": {"model": {"widht": 8}}}, "no hyperparameter 'widht'. Did you mean 'width'?"),
        ({"space": {"recipe": {"learnin_rate": 0.1}}}, "'space.recipe.learnin_rate'. Did you mean 'learning_rate'?"),
        ({"space": {"sparsity": {"float": [0.5, 0.6], "logg": True}}}, "Did you mean 'log'?"),
        ({"retrain": {"recipe": {"bach_size": 1}}}, "'retrain.recipe.bach_size'. Did you mean 'batch_size'?"),
        ({"distill": {"settings": {"iterations": 3}}}, "no key 'distill.settings.iterations'"),
        # values of the wrong kind
        ({"search": {"trials": "many"}}, "'search.trials' must be an integer ≥ 1, not 'many'"),
        ({"search": {"trials": 2.0}}, "'search.trials' must be an integer ≥ 1, not 2.0."),
        ({"search": {"trials": 0}}, "'search.trials' must be an integer ≥ 1, not 0."),
        ({"screen": {"replicates": 0}}, "'screen.replicates' must be an integer ≥ 1, not 0."),
        ({"data": {"validation": 1}}, "'data.validation' must be a number > 0 and < 1, not 1."),
        ({"search": {"score": {"exponent": 0.5}}}, "'search.score.exponent' must be a number ≤ 0, not 0.5."),
        ({"run": {"name": "a/b"}}, "'run.name' is not valid: must be letters"),
        ({"space": {"model": 3}}, "'space.model' must have a name and hyperparameters, not 3."),
        # names that nothing has
        ({"search": {"sampler": "tpee"}}, "there is no sampler 'tpee'. Did you mean 'tpe'?"),
        ({"screen": {"criterion": "magnitud"}}, "not 'magnitud' (did you mean 'magnitude'?)"),
        ({"distill": {"method": "random_image"}}, "not 'random_image' (did you mean"),
        ({"data": {"stream": "sometimes"}}, "must be one of auto | always | never"),
        ({"search": {"early_stopping": {"method": "asha"}}}, "must be one of successive_halving | median | none"),
        ({"space": {"source": {"choice": ["distilled", "subst"]}}}, "cannot be 'subst'. Did you mean 'subset'?"),
        ({"space": {"model": {"norm": {"choice": ["none", "bach"]}}}}, "no norm 'bach'. Did you mean 'batch'?"),
        ({"data": {"format": "parqet"}}, "The data format 'parqet' is unknown"),
        # what cannot be searched
        ({"space": NO_CHOICE}, "has nothing to search"),
        ({"space": {"sparsity": 1}}, "'space.sparsity' must be a number from 0 to below 1, not 1."),
        ({"space": {"sparsity": {"float": [0.5, 1.0]}}}, "must be a number from 0 to below 1, not 1.0."),
        ({"space": {"sparsity": {"float": [0.5, 0.999]}}}, "leaves 0 of 300 weights, too few for one in each"),
        ({"space": {"model": {"depth": {"choice": [1, 9]}}}}, "halves the image 9 times"),
        ({"space": {"ipc": {"choice": [99]}}}, "'space.ipc' asks for 99 images a class"),
        ({"space": {"image_gradients": 500}}, "'space.image_gradients' sets the length of a round"),
        ({"data": {"validation": 0.01}}, "without a validation image"),
        # what this machine does not have
        ({"data": {"root": "nowhere"}}, "There is no data folder nowhere"),
        ({"data": {"root": None}}, "data: The data format 'parquet' needs 'data.root', the folder"),
        ({"data": {"label": "lable"}}, "has no column 'lable'; its columns are img, label. Did you mean 'label'?"),
        ({"data": {"image": "image"}}, "'data.image' names the column of the images."),
        ({"data": {"ground": "wite"}}, "'data.ground' is a colour, such as white, grey or #ff8000, not 'wite'."),
        ({"resources": {"concurrency": 4096}}, "needs 4096 CPU threads"),
        ({"resources": {"cpus_per_job": 4096}}, "lower resources.concurrency or resources.cpus_per_job"),
        ({"resources": {"gpus_per_job": 64}}, "needs 64 GPUs"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_config_is_one_sentence_and_leaves_nothing(
    folder: Path, winnow: Winnow, changes: dict[str, Any], sentence: str
) -> None:
    write_config(folder, **changes)
    assert sentence in refusal(winnow("search", "tiny.yaml"))
    assert left_behind(folder) == set()


def test_a_recipe_that_is_a_number_is_a_mistake_too(folder: Path, winnow: Winnow) -> None:
    write_config(folder, space={"recipe": 3})
    assert "'space.recipe'" in refusal(winnow("search", "tiny.yaml"))


@pytest.mark.parametrize(
    "changes", [{"search": {"sampler": "tpee"}}, {"data": {"root": "nowhere"}}, {"data": {"format": "parqet"}}]
)
def test_every_mistake_names_the_config_it_is_in(folder: Path, winnow: Winnow, changes: dict[str, Any]) -> None:
    write_config(folder, **changes)
    assert "tiny.yaml" in refusal(winnow("search", "tiny.yaml"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "tiny.yml"], "the config file tiny.yml does not exist. Did you mean 'tiny.yaml'?"),
        (["search", "tiny.yaml", "search.trails=3"], "the override 'search.trails=3'"),
        (["search", "tiny.yaml", "search.trials=many"], "'search.trials' must be an integer ≥ 1, not 'many'"),
        (["search", "tiny.yaml", "search.trials"], "the override 'search.trials' has no '='"),
        (["search", "tiny.yaml", "space.sparsity=1.5"], "not 1.5."),
        (["resume", "tiny"], "There is no run 'tiny'"),
        (["status", "tiny"], "There is no run 'tiny'"),
        (["report", "runs/tiny"], "There is no run 'runs/tiny'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence_and_leaves_nothing(
    folder: Path, winnow: Winnow, arguments: list[str], sentence: str
) -> None:
    write_config(folder)
    assert sentence in refusal(winnow(*arguments))
    assert left_behind(folder) == set()


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_refusal_does_not_depend_on_how_the_result_is_wanted(folder: Path, winnow: Winnow, json: list[str]) -> None:
    write_config(folder, search={"trails": 3})
    refusal(winnow("search", "tiny.yaml", *json))


def test_a_run_name_that_is_taken_offers_to_resume(folder: Path, winnow: Winnow) -> None:
    write_config(folder)
    run = folder / "runs" / "tiny"
    run.mkdir(parents=True)
    (run / "run.yaml").write_text("config: {}\n")
    sentence = refusal(winnow("search", "tiny.yaml"))
    assert f"'winnow resume {run}'" in sentence
    assert "run.name" in sentence
    assert [path.name for path in run.iterdir()] == ["run.yaml"]
    assert (run / "run.yaml").read_text() == "config: {}\n"


def test_a_folder_of_something_else_is_not_written_into(folder: Path, winnow: Winnow) -> None:
    write_config(folder)
    run = folder / "runs" / "tiny"
    run.mkdir(parents=True)
    (run / "thesis.txt").write_text("")
    assert "not empty and not a run" in refusal(winnow("search", "tiny.yaml"))
    assert [path.name for path in run.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda shard: shard.write_bytes(shard.read_bytes()[:200]), "train-00000"),
        (lambda shard: shard.unlink(), "train"),
    ],
    ids=["truncated", "missing"],
)
def test_damaged_data_are_named_and_leave_nothing(
    folder: Path, winnow: Winnow, damage: Callable[[Path], object], word: str
) -> None:
    write_config(folder)
    damage(folder / "images" / "train-00000-of-00001.parquet")
    assert word in refusal(winnow("search", "tiny.yaml"))
    assert left_behind(folder) == set()
    assert not list((folder / "cache").rglob("*")) if (folder / "cache").exists() else True


def test_the_program_itself_ends_so_and_soon(folder: Path) -> None:
    write_config(folder, search={"trails": 3})
    began = time.monotonic()
    found = subprocess.run([PROGRAM, "search", "tiny.yaml"], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr == "winnow: tiny.yaml: unknown key 'search.trails'. Did you mean 'trials'?\n"
    assert time.monotonic() - began < 60  # half a second on an idle machine
    assert left_behind(folder) == set()
