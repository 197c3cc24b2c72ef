"""What users are told of samplers that cannot do what they ask."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import optuna
import pytest

from dp_core.errors import UserError
from search.config.objectives import objectives_of
from search.space import Space
from search.study.sampling import SAMPLERS, check_sampler, evolution
from tests.search.study.sampling.small import CONDITIONAL, FINITE, NUMBERS, Searched


def said(name: str, space: dict[str, Any], objectives: tuple[str, ...] = ("score",)) -> str:
    with pytest.raises(UserError) as caught:
        check_sampler(name, Space.parse(space, "x.yaml: space"), objectives_of(objectives), 10)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_does_numbers_on_a_grid(name: str) -> None:
    space = Space.parse({"x": {"float": [0.0, 1.0], "step": 0.5}, "n": {"int": [1, 9]}, "one": {"choice": ["only"]}})
    check_sampler(name, space, objectives_of(["score"]), 10)


@pytest.mark.parametrize("name", ["auto", "tpe", "nsga2", "random", "qmc"])
def test_conditional_spaces_of_several_objectives(name: str) -> None:
    check_sampler(name, Space.parse(CONDITIONAL), objectives_of(["accuracy", "parameters"]), 10)


def test_cma_es_does_numbers_only() -> None:
    sentence = said("cmaes", CONDITIONAL)
    assert sentence == (
        "space: 'model.width' is a choice, which the sampler 'cmaes' (search.sampler) cannot search; "
        "'auto', 'tpe', 'nsga2', 'random', 'qmc' can."
    )
    conditional = {"x": {"int": [0, 3]}, "a": {"choice": [1, 2]}, "y": {"float": [0, 1], "when": {"a": 2}}}
    assert "'a' is a choice" in said("cmaes", conditional)


def test_cma_es_does_one_objective() -> None:
    sentence = said("cmaes", NUMBERS, ("accuracy", "parameters"))
    assert sentence.startswith("search.sampler: 'cmaes' cannot search for several objectives (search.objectives)")
    assert "'auto', 'tpe', 'gp', 'nsga2', 'random', 'qmc' can" in sentence


def test_cma_es_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolution, "is_installed", lambda: False)
    assert "install it with pip install cmaes" in said("cmaes", NUMBERS)


def test_gaussian_processes_do_no_conditions() -> None:
    sentence = said("gp", CONDITIONAL)
    # `ipc` hangs on the source alone, which is fixed for each of them.
    assert sentence.startswith("space: 'recipe.momentum' is conditional (when), which the sampler 'gp'")
    by_source = {key: value for key, value in CONDITIONAL.items() if key != "recipe"}
    check_sampler("gp", Space.parse(by_source), objectives_of(["score"]), 10)


def test_a_condition_on_a_choice_of_one_value_is_none() -> None:
    space = {"a": {"choice": ["only"]}, "x": {"float": [0, 1], "when": {"a": "only"}}, "y": {"int": [0, 9]}}
    for name in ("gp", "cmaes"):
        check_sampler(name, Space.parse(space), objectives_of(["score"]), 10)


def test_the_grid_needs_steps() -> None:
    sentence = said("grid", {**FINITE, "rate": {"float": [0.0, 1.0]}})
    assert "'rate' is a range without a step, which the sampler 'grid'" in sentence
    check_sampler("grid", Space.parse(FINITE), objectives_of(["score"]), 10)


def test_a_misspelt_sampler() -> None:
    sentence = said("nsga", CONDITIONAL)
    assert sentence.startswith("search.sampler: there is no sampler 'nsga'. Did you mean 'nsga2'? Known: auto, tpe")


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> str:
    (tmp_path / "own_sampler.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_sampler", raising=False)
    return "own_sampler:make"


def test_a_sampler_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import optuna\ndef make(seed):\n    return optuna.samplers.RandomSampler(seed=seed)\n"
    name, space = own(tmp_path, monkeypatch, source), Space.parse(CONDITIONAL)
    check_sampler(name, space, objectives_of(["score"]), 10)
    one, other = (Searched(name, space, seed=seed) for seed in (1, 2))
    assert one.params("real") != other.params("real")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import nowhere_at_all\n", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'."),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero."),
        ("def makes(seed): pass\n", "own_sampler has no function 'make'. Did you mean 'makes'?"),
        ("make = 3\n", "own_sampler has no function 'make'."),
        ("def make(): pass\n", "could not be made with seed=0: TypeError: make() got an unexpected keyword"),
        ("def make(seed):\n    raise KeyError('x')\n", "own_sampler.py, line 2: 'x'."),
        ("def make(seed): return 3\n", "must be an Optuna sampler, not int."),
    ],
)
def test_what_can_be_wrong_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, sentence: str) -> None:
    assert sentence in said(own(tmp_path, monkeypatch, source), CONDITIONAL)


@pytest.mark.parametrize("name", [":make", "own_sampler:", "nowhere_at_all:make"])
def test_names_that_lead_nowhere(name: str) -> None:
    assert re.search("must be of the form package.module:function|cannot be imported", said(name, CONDITIONAL))


def test_optuna_hub_is_asked_for_when_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optunahub", None)
    sentence = said("optunahub:samplers/auto_sampler:AutoSampler", CONDITIONAL)
    assert sentence.endswith("needs OptunaHub: install it with pip install 'winnow[hub]'.")


@pytest.mark.parametrize("name", ["optunahub:samplers/auto_sampler", "optunahub:", "optunahub::AutoSampler"])
def test_names_of_optuna_hub_have_a_package_and_a_class(name: str) -> None:
    assert "must be of the form optunahub:package:Class" in said(name, CONDITIONAL)


def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a stand-in for the package optunahub in its place, which has one sampler."""

    def load_module(package: str) -> Any:
        if package != "samplers/some":
            raise RuntimeError(f"no package {package}")
        return types.SimpleNamespace(Some=optuna.samplers.RandomSampler)

    monkeypatch.setitem(sys.modules, "optunahub", types.SimpleNamespace(load_module=load_module))


def test_a_sampler_of_optuna_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch)
    space = Space.parse(NUMBERS)
    check_sampler("optunahub:samplers/some:Some", space, objectives_of(["score"]), 10)
    assert 0 <= Searched("optunahub:samplers/some:Some", space).params()["x"] <= 1
    assert "no function 'Sme'. Did you mean 'Some'?" in said("optunahub:samplers/some:Sme", NUMBERS)
    assert "cannot be loaded from OptunaHub: RuntimeError: no package samplers/other." in said(
        "optunahub:samplers/other:Some", NUMBERS
    )
