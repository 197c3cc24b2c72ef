"""Points to try first, and the trials of earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from dp_core.errors import UserError
from search.config.models import ConstraintsSection, SearchConfig, StartSection
from search.config.objectives import objectives_of
from search.pipeline.warm_start import EARLIER, check_runs, earlier_trials, points, proxy_settings
from search.space import Space
from search.study.constraints import Limits
from search.study.trials import CANDIDATE, REJECTED, ROUND, STUDY
from tests.search.tiny import a_round, config_tree
from trainables import Score

SPACE = Space.parse(
    {
        "model": {"name": "convnet", "width": {"choice": [16, 24, 32]}, "depth": {"int": [1, 4]}},
        "sparsity": {"float": [0.5, 0.9]},
        "source": {"choice": ["distilled", "subset", "real"]},
        "ipc": {"choice": [1, 10], "when": {"source": ["distilled", "subset"]}},
        "recipe": {
            "learning_rate": {"float": [0.01, 0.09], "step": 0.02},
            "batch_size": {"int": [32, 128], "step": 32},
            "milestones": {"choice": [[1, 2], [3]]},
        },
    }
)


def read(*given: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return points(StartSection(points=given), SPACE)


def mistake(point: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        read({"sparsity": 0.5}, point)
    return str(caught.value).removeprefix("search.start.points[1]: ")


def test_a_point_names_any_parameters_nested_or_dotted() -> None:
    nested = {"sparsity": 0.9, "model": {"width": 32, "name": "convnet"}, "recipe": {"milestones": [1, 2]}}
    dotted = {"model.width": 32, "source": "subset", "ipc": 10, "recipe.learning_rate": 0.07, "recipe.batch_size": 96}
    assert read(nested, dotted, {}) == (
        {"sparsity": 0.9, "model.width": 32, "recipe.milestones": "[1,2]"},
        {
            "model.width": 32, "source": "subset", "ipc": 10, "recipe.learning_rate": 0.07, "recipe.batch_size": 96,
        },
        {},
    )  # fmt: skip


def test_optuna_takes_the_points(recwarn: pytest.WarningsRecorder) -> None:
    study = optuna.create_study()
    given = read({"source": "real", "sparsity": 1 - 0.5, "recipe": {"learning_rate": 0.05, "milestones": [3]}})
    study.enqueue_trial(given[0])
    candidate = SPACE.suggest(study.ask())
    assert (candidate["source"], candidate["sparsity"], candidate["recipe"]["learning_rate"]) == ("real", 0.5, 0.05)
    assert candidate["recipe"]["milestones"] == [3]
    assert [str(warning.message) for warning in recwarn if "out of range" in str(warning.message)] == []


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ({"model": {"widht": 16}}, "'model.widht' is not a parameter of the space. Did you mean 'model.width'?"),
        ({"model": 16}, "'model' is not a parameter of the space. Did you mean 'model.name'?"),
        ({"model": {"width": 20}}, "'model.width' is 20, which is not one of its choices [16, 24, 32]."),
        (
            {"source": "distiled", "ipc": 1},
            "'source' is 'distiled', which is not one of its choices [\"distilled\", \"subset\", \"real\"]. "
            "Did you mean 'distilled'?",
        ),
        ({"sparsity": 0.95}, "'sparsity' is 0.95, which is not a number from 0.5 to 0.9."),
        ({"sparsity": "0.9"}, "'sparsity' is '0.9', which is not a number from 0.5 to 0.9."),
        ({"model.depth": 2.0}, "'model.depth' is 2.0, which is not a whole number from 1 to 4."),
        ({"recipe.batch_size": 100}, "'recipe.batch_size' is 100, which is not in steps of 32 from 32."),
        (
            {"recipe.learning_rate": 0.04},
            "'recipe.learning_rate' is 0.04, which is not in steps of 0.02 from 0.01.",
        ),
        ({"model.name": "vgg11"}, "'model.name' is 'vgg11', which is not its constant 'convnet'."),
        (
            {"source": "real", "ipc": 10},
            "'ipc' goes with source = 'distilled' or 'subset', but the point has 'real'.",
        ),
        ({"ipc": 10}, "'ipc' goes with source = 'distilled' or 'subset', which the point does not say."),
        ({"model": {"width": 16}, "model.width": 24}, "'model.width' is given twice."),
        ({"sparsity": float("nan")}, "'sparsity' is nan, which is a number that is not finite."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_point_is_told_in_one_sentence(point: dict[str, Any], expected: str) -> None:
    assert mistake(point) == expected


DATA = {"train": "aaa", "validation": "bbb", "test": "ccc"}
SHAPE = (3, 8, 8)
# The parameters of a search as `tests.search.tiny` writes it.
PARAMS: dict[str, Any] = {"model.pooling": "max", "sparsity": 0.75, "source": "real"}


def candidate(**changes: Any) -> dict[str, Any]:
    model = {"name": "convnet", "depth": 1, "width": 4, "norm": "none", "pooling": "max"}
    recipe = {"steps": 4, "batch_size": 16, "learning_rate": 0.1}
    made = {"model": model, "sparsity": 0.75, "source": "real", "recipe": recipe, **changes}
    return {key: value for key, value in made.items() if value is not None}


def ended(state: TrialState, rows: list[dict[str, Any]], **attributes: Any) -> FrozenTrial:
    kept = {CANDIDATE: candidate(), **attributes, **{f"{ROUND}{row['round']:04d}": row for row in rows}}
    values = [rows[-1]["score"]] if state == TrialState.COMPLETE else None
    return create_trial(
        state=state,
        values=values,
        params={"sparsity": 0.75},
        distributions={"sparsity": FloatDistribution(0.1, 0.9)},
        user_attrs=kept,
    )


def config(**changes: Any) -> SearchConfig:
    return SearchConfig.model_validate(config_tree(Path("there"), **changes))


def earlier_run(folder: Path, trials: list[FrozenTrial], record: dict[str, Any] | None = None, **changes: Any) -> Path:
    run = folder / "earlier"
    run.mkdir(parents=True)
    written = {
        "kind": "search",
        "data": DATA,
        "distilled_sets": {"distilled-2": "ddd"},
        "config": config(**changes).model_dump(mode="json"),
        **(record or {}),
    }
    (run / "run.yaml").write_text(yaml.safe_dump(written))
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(run / "study.journal"))), study_name=STUDY, direction="maximize"
    )
    study.add_trials(trials)
    return run


def learned(
    run: Path, names: tuple[str, ...] = ("score",), now: SearchConfig | None = None, **limits: Any
) -> tuple[list[FrozenTrial], list[str]]:
    now = now or config()
    return earlier_trials(
        [run],
        Space.parse(now.space),
        objectives_of(names),
        Score(now.search.score.target_parameters, now.search.score.exponent),
        DATA,
        proxy=proxy_settings(now),
        sets={"distilled-2": "ddd"},
        limits=Limits(ConstraintsSection.model_validate(limits), SHAPE, 3),
    )


ROWS = [a_round(1, 0.5, parameters_left=307).to_row(), a_round(2, 0.6, parameters_left=157).to_row()]


def test_a_finished_trial_is_known_with_the_value_that_this_run_gives_it(tmp_path: Path) -> None:
    run = earlier_run(tmp_path, [ended(TrialState.COMPLETE, ROWS)])
    # 628 = 4 × 157 parameters and an exponent of -0.5: at a quarter of the target the accuracy counts twice.
    now = config(search={"score": {"target_parameters": 628, "exponent": -0.5}})
    (found,), notes = learned(run, now=now)
    assert notes == []
    assert (found.state, found.params) == (TrialState.COMPLETE, PARAMS)
    assert found.distributions == Space.parse(now.space).distributions(PARAMS)
    assert found.value == pytest.approx(1.2)
    assert found.intermediate_values == pytest.approx({1: 0.5 * (628 / 307) ** 0.5, 2: 1.2})
    assert found.user_attrs == {CANDIDATE: candidate(), EARLIER: f"{run}, trial 0"}


def test_a_study_takes_the_trials_and_its_sampler_draws_from_them(tmp_path: Path) -> None:
    stopped = ended(TrialState.PRUNED, ROWS[:1], **{CANDIDATE: candidate(sparsity=0.6)})
    found, _ = learned(earlier_run(tmp_path, [ended(TrialState.COMPLETE, ROWS), stopped]))
    study = optuna.create_study(direction="maximize")
    study.add_trials(found)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert study.best_params == PARAMS
    assert (study.trials[1].params["sparsity"], study.trials[1].intermediate_values) == (0.6, {1: 0.5})


def test_several_objectives_are_those_of_the_last_round(tmp_path: Path) -> None:
    trials = [ended(TrialState.COMPLETE, ROWS), ended(TrialState.PRUNED, ROWS[:1])]
    found, notes = learned(earlier_run(tmp_path, trials), ("accuracy", "parameters"))
    assert [trial.values for trial in found] == [[0.6, 157.0], None]
    assert [trial.intermediate_values for trial in found] == [{}, {}]
    assert notes == []


def test_what_is_of_no_use_is_left_out_and_told(tmp_path: Path) -> None:
    distilled = {"source": "distilled", "ipc": 2}
    others = [
        candidate(sparsity=0.45),  # below the range
        candidate(source="subset"),  # no choice
        candidate(model={"name": "convnet"}),  # other constants
        candidate(image_gradients=100),  # a parameter that this space has not
        candidate(ipc=2),  # goes with another source
        candidate(**distilled),
        candidate(source="distilled"),  # an active parameter is missing
    ]
    trials = [
        *(ended(TrialState.COMPLETE, ROWS, **{CANDIDATE: other}) for other in others),
        ended(TrialState.FAIL, ROWS),
        ended(TrialState.PRUNED, [], **{REJECTED: True}),
        ended(TrialState.PRUNED, []),
        ended(TrialState.COMPLETE, ROWS),
    ]
    run = earlier_run(tmp_path, trials)
    found, notes = learned(run)
    assert [trial.params.get("ipc") for trial in found] == [2, None]
    assert notes == [f"6 of 8 trials of {run} are not in this space."]
    assert learned(run, ("score", "latency"))[1][1] == f"2 of 8 trials of {run} have no latency."


def test_trials_on_another_set_of_the_same_name_are_left_out(tmp_path: Path) -> None:
    distilled = ended(TrialState.COMPLETE, ROWS, **{CANDIDATE: candidate(source="distilled", ipc=2)})
    trials = [distilled, ended(TrialState.COMPLETE, ROWS)]
    run = earlier_run(tmp_path, trials, {"distilled_sets": {"distilled-2": "eee"}})
    found, notes = learned(run)
    assert [trial.params["source"] for trial in found] == ["real"]
    assert notes == [f"1 of 2 trials of {run} were screened with another set 'distilled-2'."]


def test_trials_say_by_how_much_they_break_this_runs_constraints(tmp_path: Path) -> None:
    trials = [ended(TrialState.COMPLETE, ROWS), ended(TrialState.PRUNED, ROWS[:1])]
    found, _ = learned(earlier_run(tmp_path, trials), max_parameters=100, max_flops=7104)
    # The finished one has 157 parameters left. At 75 % sparsity 75 weights and 7 biases will be left of the other, and
    # at least 150 FLOPs.
    expected = [{"max_parameters": 0.57, "max_flops": 0.0}, {"max_parameters": -0.18, "max_flops": 150 / 7104 - 1}]
    assert [trial.constraints for trial in found] == [pytest.approx(entry) for entry in expected]


def test_a_run_without_ended_trials_is_told(tmp_path: Path) -> None:
    run = earlier_run(tmp_path, [ended(TrialState.FAIL, [])])
    assert learned(run) == ([], [f"{run} has no trial that was finished or stopped early."])


def test_a_run_counts_once(tmp_path: Path) -> None:
    run = earlier_run(tmp_path, [ended(TrialState.COMPLETE, ROWS)])
    now = config()
    found, _ = earlier_trials(
        [run, run], Space.parse(now.space), objectives_of(["score"]), Score(1, 0.0), DATA,
        proxy=proxy_settings(now), sets={}, limits=Limits(ConstraintsSection(), SHAPE, 3),
    )  # fmt: skip
    assert len(found) == 1


def refused(run: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_runs([run], DATA, proxy_settings(config(**changes)))
    return str(caught.value)


def test_a_run_whose_proxies_mean_something_else_is_refused(tmp_path: Path) -> None:
    other = {"validation": "xxx", "test": "yyy"}
    run = earlier_run(tmp_path / "data", [], {"data": DATA | other})
    assert refused(run) == (
        f"search.start.runs: {run} was run on other data: its validation and test images are not this run's."
    )
    run = earlier_run(tmp_path / "settings", [])
    check_runs([run], DATA, proxy_settings(config(screen={"replicates": 3}, retrain={"epochs": 7})))
    assert refused(run, screen={"criterion": "snip"}) == (
        f"search.start.runs: {run} was run with screen.criterion 'magnitude', not 'snip', "
        "so that its proxy accuracies mean something else."
    )
    assert "with search.ladder.ipc [], not [1]," in refused(run, search={"ladder": {"ipc": (1,)}})
    run = earlier_run(tmp_path / "recipe", [], search={"ladder": {"real_epochs": 2}})
    sgd = {"search": {"ladder": {"real_epochs": 2}}, "retrain": {"recipe": {"learning_rate": 0.1}}}
    assert "with retrain.recipe" in refused(run, **sgd)


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refused(missing).startswith(f"search.start.runs: There is no run '{missing}'")
    run = earlier_run(tmp_path, [], {"kind": "distillation"})
    assert refused(run) == f"search.start.runs: The run {run} is of the kind 'distillation', not a search."
    (run / "run.yaml").write_text("[]")
    assert refused(run) == f"search.start.runs: {run / 'run.yaml'} is not the record of a run."
