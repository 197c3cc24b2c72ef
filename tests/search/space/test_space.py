"""Reading spaces, proposing from them and restoring stored proposals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from omegaconf import OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FixedTrial

from dp_core.errors import UserError
from search.space import ChoiceParameter, Condition, Constant, FloatParameter, IntParameter, Space

EXAMPLE = """
model:
  name: convnet
  depth: {int: [2, 3]}
  width: {choice: [16, 32, 64]}
  norm: {choice: [none, batch, instance]}
ipc: {choice: [1, 10], when: {source: [distilled, subset]}}
sparsity: {float: [0.5, 0.95]}
source: {choice: [distilled, subset, real]}
recipe:
  optimizer: {choice: [sgd, adamw]}
  momentum: {float: [0.8, 0.95], when: {recipe.optimizer: sgd}}
  learning_rate: {float: [1e-3, 1e-1], log: true}
"""


def read(text: str) -> Any:
    return OmegaConf.to_container(OmegaConf.create(text), resolve=True)


def parse(text: str) -> Space:
    return Space.parse(read(text), "x.yaml: space")


def test_parameters_are_typed_and_in_written_order() -> None:
    distilled = Condition("source", ("distilled", "subset"))
    assert parse(EXAMPLE).parameters == (
        Constant("model.name", "convnet"),
        IntParameter("model.depth", 2, 3),
        ChoiceParameter("model.width", (16, 32, 64)),
        ChoiceParameter("model.norm", ("none", "batch", "instance")),
        ChoiceParameter("ipc", (1, 10), (distilled,)),
        FloatParameter("sparsity", 0.5, 0.95),
        ChoiceParameter("source", ("distilled", "subset", "real")),
        ChoiceParameter("recipe.optimizer", ("sgd", "adamw")),
        FloatParameter("recipe.momentum", 0.8, 0.95, when=(Condition("recipe.optimizer", ("sgd",)),)),
        FloatParameter("recipe.learning_rate", 0.001, 0.1, log=True),
    )


def test_a_condition_may_be_written_before_its_target_and_drops_what_it_excludes() -> None:
    flat: dict[str, Any] = {
        "model.depth": 3, "model.width": 32, "model.norm": "none", "sparsity": 0.75, "source": "real", "ipc": 10,
        "recipe.optimizer": "adamw", "recipe.learning_rate": 0.01, "recipe.momentum": 0.9,
    }  # fmt: skip
    expected = {
        "model": {"name": "convnet", "depth": 3, "width": 32, "norm": "none"},
        "sparsity": 0.75,
        "source": "real",
        "recipe": {"optimizer": "adamw", "learning_rate": 0.01},
    }
    assert parse(EXAMPLE).suggest(FixedTrial(flat)) == expected
    flat |= {"source": "subset", "recipe.optimizer": "sgd"}
    expected |= {"source": "subset", "ipc": 10}
    expected["recipe"] = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01}
    assert parse(EXAMPLE).suggest(FixedTrial(flat)) == expected
    assert parse(EXAMPLE).nest(flat) == expected


def test_groups_hand_their_condition_down_and_vanish_with_it() -> None:
    space = parse("""
        kind: {choice: [plain, prune]}
        prune: {when: {kind: prune}, rounds: {int: [2, 4]}, rate: 0.2, inner: {when: {prune.mode: b}, x: 1},
                mode: {choice: [a, b]}}
    """)
    assert space.nest({"kind": "plain"}) == {"kind": "plain"}
    assert space.nest({"kind": "prune", "prune.rounds": 3, "prune.mode": "a"}) == {
        "kind": "prune",
        "prune": {"rounds": 3, "rate": 0.2, "mode": "a"},
    }
    assert space.nest({"kind": "prune", "prune.rounds": 3, "prune.mode": "b"})["prune"]["inner"] == {"x": 1}
    assert space.size() == 1 + 3 * 2


def test_yaml_words_none_and_null_are_told_apart() -> None:
    space = parse("a: {choice: [none, null, 'null', on, 'on']}")
    (parameter,) = space.parameters
    assert isinstance(parameter, ChoiceParameter)
    assert parameter.values == ("none", None, "null", True, "on")
    for value in parameter.values:
        assert space.suggest(FixedTrial({"a": value})) == {"a": value}


def test_choices_keep_their_types_through_a_journal(tmp_path: Path) -> None:
    space = parse(
        "a: {choice: [none, null, true, 2, 0.5, [64, 128], [[1, x], null]]}\nb: {choice: [1], when: {a: null}}"
    )
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.create_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
    proposed = []
    for _ in range(40):
        trial = study.ask()
        proposed.append(space.suggest(trial))
        study.tell(trial, 0.0)
    reopened = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    restored = [space.nest(trial.params) for trial in optuna.load_study(study_name="s", storage=reopened).trials]
    assert [repr(item) for item in restored] == [repr(item) for item in proposed]
    assert {repr(item["a"]) for item in proposed} == {
        "'none'",
        "None",
        "True",
        "2",
        "0.5",
        "[64, 128]",
        "[[1, 'x'], None]",
    }


def test_lists_are_stored_as_text_that_does_not_depend_on_their_place() -> None:
    for text in ("a: {choice: [[64, 128], [32]]}", "a: {choice: [[32], [16], [64, 128]]}"):
        assert parse(text).nest({"a": "[64,128]"}) == {"a": [64, 128]}


def test_a_list_under_when_is_a_list_of_values_unless_the_target_takes_it() -> None:
    lists = parse("a: {choice: [[1, 2], [3]]}\nb: {int: [0, 1], when: {a: [1, 2]}}\nc: {int: [0, 1], when: {a: [[3]]}}")
    assert lists.parameters[1].when == (Condition("a", ((1, 2),)),)
    assert lists.parameters[2].when == (Condition("a", ((3,),)),)
    scalars = parse("a: {choice: [1, 2, 3]}\nb: {int: [0, 1], when: {a: [3, 1]}}")
    assert scalars.parameters[1].when == (Condition("a", (1, 3)),)


def test_conditions_may_be_nested_like_the_space() -> None:
    space = parse("r: {o: {choice: [x, y]}}\nb: {int: [0, 1], when: {r: {o: x}}}")
    assert space.parameters[1].when == (Condition("r.o", ("x",)),)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_steps_include_the_high_bound() -> None:
    space = parse("a: {float: [0.1, 0.7], step: 0.2}\nb: {int: [3, 11], step: 4}")
    assert space.size() == 4 * 3
    study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler())
    study.optimize(lambda trial: float(space.suggest(trial)["a"]), n_trials=20)
    assert {trial.params["b"] for trial in study.trials} == {3, 7, 11}
    assert sorted({trial.params["a"] for trial in study.trials}) == pytest.approx([0.1, 0.3, 0.5, 0.7])


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler", "NSGAIISampler"])
def test_stock_samplers_draw_conditional_spaces(sampler: str) -> None:
    space = parse(EXAMPLE)
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=0))
    for _ in range(25):
        trial = study.ask()
        candidate = space.suggest(trial)
        assert ("ipc" in candidate) == (candidate["source"] != "real")
        assert ("momentum" in candidate["recipe"]) == (candidate["recipe"]["optimizer"] == "sgd")
        assert "model.name" not in trial.params
        study.tell(trial, candidate["sparsity"])


def test_size_is_infinite_with_a_range_of_floats() -> None:
    assert parse(EXAMPLE).size() == math.inf
    assert parse("a: {float: [2, 2]}\nb: {int: [1, 5]}").size() == 5


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"a": "x"}, "'b' is missing from a stored trial"),
        ({"a": "z"}, "'a' was stored as 'z', which is not one of its choices"),
        ({"a": "y", "b": 1}, "'b' is in a stored trial but not in the space"),
        ({"a": "x", "b": 9}, "'b' was stored as 9, which is not a whole number from 1 to 3"),
    ],
)
def test_stored_trials_of_another_space_are_refused(stored: dict[str, Any], said: str) -> None:
    space = parse("a: {choice: [x, y]}\nb: {int: [1, 3], when: {a: x}}")
    with pytest.raises(UserError) as caught:
        space.nest(stored)
    assert str(caught.value).startswith(f"x.yaml: space: {said}")


X_OR_Y = "a: {choice: [x, y]}\n"

MISTAKES = [
    ("{}", "x.yaml: space has nothing to search"),
    ("a: 3", "x.yaml: space has nothing to search"),
    ("a: {choice: []}", "'a' has an empty choice"),
    ("a: {choice: x}", "'a' needs a list for choice, such as ['x'], not 'x'"),
    ("a: {choice: [{b: 1}]}", "'a' has a mapping for a value"),
    ("a: {choice: [x, x]}", "'a' lists 'x' twice"),
    ("a: {choice: [1, 1.0]}", "'a' lists 1 twice"),
    ("a: {choice: [1, true]}", "'a' lists 1 and true, which Optuna cannot tell apart"),
    ("a: {choice: [[1], '[1]']}", "'a' lists [1] and '[1]', which Optuna cannot tell apart"),
    ("a: {choice: [[1], [true]]}", "'a' lists [1] and [true], which Optuna cannot tell apart"),
    ("a: {choice: [1, 2], log: true}", "'a' has log, which goes with int or float"),
    ("g: {a: {int: [3, 2]}}", "'g.a' has its low bound 3 above its high bound 2"),
    ("a: {int: 3}", "'a' needs two bounds, int: [low, high], not 3"),
    ("a: {int: [1, x]}", "'a' has 'x' in its bounds"),
    ("a: {int: [true, 3]}", "'a' has true in its bounds"),
    ("a: {int: [1, 2.5]}", "'a' is an int but has 2.5 in its bounds"),
    ("a: {float: [0, .inf]}", "'a' has inf in its bounds"),
    ("a: {float: [0, .nan]}", "'a' has nan in its bounds"),
    ("a: {float: [0, 1], log: true}", "'a' has log: true, for which its low bound must be above 0, not 0"),
    ("a: {float: [1, 2], log: yes please}", "'a' needs true or false for log, not 'yes please'"),
    ("a: {float: [0, 1], step: 0.3}", "'a' cannot reach its high bound 1.0 in steps of 0.3: the last is 0.9"),
    ("a: {float: [0, 1e30], step: 1e-9}", "'a' has a step of 1e-09, which is too small"),
    ("a: {int: [1, 7], step: 2, log: true}", "'a' has both log and step"),
    ("a: {int: [1, 7], step: 0}", "'a' needs a step above 0"),
    ("a: {int: [1, 2], float: [1, 2]}", "'a' has both int and float"),
    ("a: {int: [1, 2], stpe: 1}", "'a' has the unknown key 'stpe' beside its range or choice. Did you mean 'step'?"),
    (
        "a: {chioce: [1, 2]}",
        "'a.chioce' is a list, but a constant is a single value: write {choice: [[1, 2]]}. Did you mean 'choice'?",
    ),
    ("a: {}", "'a' is empty"),
    ("a: {log: true}", "'a' is empty: give it one of int, float or choice"),
    ("a.b: {choice: [1, 2]}", "x.yaml: space has the key 'a.b', which must be text without a dot"),
    ("on: {choice: [1, 2]}", "x.yaml: space has the key true, which must be text"),
    (
        X_OR_Y + "b: {int: [1, 2], when: {aa: x}}",
        "'b' has a when that names the unknown parameter 'aa'. Did you mean 'a'?",
    ),
    (
        "a: {choice: [sgd, adam]}\nb: {int: [1, 2], when: {a: sdg}}",
        "'b' has a when that waits for 'sdg', which 'a' never takes (it takes [\"sgd\", \"adam\"]). Did you mean "
        "'sgd'?",
    ),
    (
        "a: {choice: [true, false]}\nb: {int: [1, 2], when: {a: 1}}",
        "'b' has a when that waits for 1, which 'a' never takes",
    ),
    (X_OR_Y + "b: {int: [1, 2], when: {a: []}}", "'b' has an empty list of values for 'a' under when"),
    (X_OR_Y + "b: {int: [1, 2], when: x}", "'b' needs conditions under when"),
    ("a: {int: [1, 3]}\nb: {int: [1, 2], when: {a: 1}}", "'b' has a when on 'a', which is a range"),
    (
        "a: {choice: [x, y], when: {b: x}}\nb: {choice: [x, y], when: {a: x}}",
        "'a' depends on itself through when: 'a' on 'b' on 'a'",
    ),
    ("g: {when: {g.a: x}, a: {choice: [x, y]}}", "'g.a' depends on itself through when: 'g.a' on 'g.a'"),
    (
        X_OR_Y + "b: {choice: [1, 2], when: {a: x}}\nc: {int: [1, 2], when: {b: 1, a: y}}",
        "'c' can never be active: its conditions on 'a' contradict each other",
    ),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes_are_told_in_one_sentence_naming_the_parameter(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    sentence = str(caught.value)
    assert sentence.startswith(said if said.startswith("x.yaml") else f"x.yaml: space: {said}")
    assert "\n" not in sentence


def test_a_space_that_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(UserError, match=r"^x\.yaml: space must be a mapping of names to parameters, not \[1\]"):
        Space.parse([1], "x.yaml: space")  # type: ignore[arg-type]


OVENS = """
fuel: {choice: [wood, gas, electric]}
logs: {int: [1, 9], when: {fuel: wood}}
bark: {choice: [oak, birch], when: {logs_kind: split}}
logs_kind: {choice: [split, whole], when: {fuel: [wood]}}
flame: {float: [0.1, 0.9], when: {fuel: [gas, wood]}}
fan: {when: {fuel: electric}, speed: {choice: [1, 2]}}
heat: {int: [100, 250]}
"""


@pytest.mark.parametrize(
    ("fuel", "there", "left_out"),
    [
        ("gas", {"fuel", "flame", "heat"}, {"logs", "bark", "logs_kind", "fan.speed"}),
        ("wood", {"fuel", "logs", "bark", "logs_kind", "flame", "heat"}, {"fan.speed"}),
        ({"choice": ["gas", "electric"]}, {"fuel", "flame", "fan.speed", "heat"}, {"logs", "bark", "logs_kind"}),
        ({"choice": ["steam"]}, {"fuel", "heat"}, {"logs", "bark", "logs_kind", "flame", "fan.speed"}),
        (7, {"fuel", "heat"}, {"logs", "bark", "logs_kind", "flame", "fan.speed"}),
    ],
)
def test_what_waits_for_a_value_that_was_taken_out_is_left_out_and_said(
    fuel: object, there: set[str], left_out: set[str]
) -> None:
    space = Space.parse({**yaml.safe_load(OVENS), "fuel": fuel})
    assert {parameter.name for parameter in space.parameters} == there
    assert {note.split("'")[1] for note in space.notes} == left_out
    assert len(space.notes) == len(left_out)


def test_a_note_says_what_was_waited_for_and_what_there_is() -> None:
    space = Space.parse({**yaml.safe_load(OVENS), "fuel": "gas"})
    assert space.notes[0] == "'logs' is left out of the space: it waits for fuel = 'wood', but fuel is always 'gas'."
    assert "'bark' is left out of the space: it waits for 'logs_kind', which is not there either." in space.notes


def test_a_condition_that_always_holds_is_none() -> None:
    space = Space.parse({**yaml.safe_load(OVENS), "fuel": "wood"})
    when = {parameter.name: parameter.when for parameter in space.parameters}
    assert when["logs"] == when["flame"] == ()
    assert [condition.target for condition in when["bark"]] == ["logs_kind"]
    assert all(set(corner) >= {"logs", "flame", "heat"} for corner in space.corners())


def test_a_space_of_which_only_constants_are_left_has_nothing_to_search() -> None:
    with pytest.raises(UserError, match="has nothing to search"):
        Space.parse({"a": "x", "b": {"int": [1, 2], "when": {"a": "y"}}})


def test_a_value_named_beside_the_one_it_resembles_is_no_misspelling() -> None:
    space = Space.parse({"a": {"choice": ["adamw", "sgd"]}, "b": {"int": [1, 2], "when": {"a": ["adam", "adamw"]}}})
    assert [condition.values for parameter in space.parameters for condition in parameter.when] == [("adamw",)]
