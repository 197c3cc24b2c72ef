"""The durable record in a journal and in a database, which keep the same promises."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dp_core.errors import UserError
from search.config.objectives import objectives_of
from search.study.storage.store import TrialStore, exists, read_trials
from tests.search.study.events import CANDIDATE, expected, proposal, said, tell

ONE = ("score",)


@pytest.fixture(params=["journal", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Return where the study is kept: None for the journal."""
    return None if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


def opened(folder: Path, url: str | None, names: tuple[str, ...] = ONE) -> TrialStore:
    return TrialStore.open(folder / "study.journal", url, "winnow", objectives_of(names))


def stock_study(folder: Path, url: str | None) -> optuna.Study:
    """Open the study with nothing but Optuna."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal"))) if url is None else RDBStorage(url)
    return optuna.load_study(study_name="winnow", storage=storage)


def stock_trials(folder: Path, url: str | None) -> list[optuna.trial.FrozenTrial]:
    """Return the trials with nothing but Optuna."""
    return stock_study(folder, url).get_trials()


def test_what_is_told_is_there_for_us_and_for_stock_optuna(tmp_path: Path, url: str | None) -> None:
    store = opened(tmp_path, url)
    tell(store)
    assert said(store.trials()) == expected()
    assert said(stock_trials(tmp_path, url)) == expected()
    assert said(read_trials(tmp_path / "study.journal", url, "winnow")) == expected()
    store.close()
    again = opened(tmp_path, url)
    assert said(again.trials()) == expected()
    assert again.notes == ()
    assert all(trial.datetime_complete for trial in again.trials() if trial.state.is_finished())


def test_numbers_go_on_where_they_were(tmp_path: Path, url: str | None) -> None:
    tell(opened(tmp_path, url))
    assert opened(tmp_path, url).add(proposal()) == 4


def test_a_trial_may_be_over_when_it_is_added(tmp_path: Path, url: str | None) -> None:
    store = opened(tmp_path, url)
    attributes = {"candidate": CANDIDATE, "reason": "rejected before training: too large", "rejected": True}
    rejected = proposal(state=TrialState.PRUNED, user_attrs=attributes, system_attrs={"constraints:parameters": 5.0})
    assert store.add(rejected) == 0
    store.keep_round(0, "round:0001", {"score": 0.5}, 1, 0.5)
    store.end(0, TrialState.COMPLETE, [0.5], {}, {})
    (trial,) = stock_trials(tmp_path, url)
    assert (trial.state, trial.user_attrs, trial.intermediate_values) == (TrialState.PRUNED, attributes, {})
    assert trial.constraints == {"parameters": 5.0}


@pytest.mark.parametrize("reopen", [False, True])
def test_what_is_known_changes_nothing(tmp_path: Path, url: str | None, reopen: bool) -> None:
    store = opened(tmp_path, url)
    tell(store)
    if reopen:
        store = opened(tmp_path, url)
    ended = [trial.datetime_complete for trial in store.trials()]
    store.keep_round(3, "round:0001", {"score": 0.9}, 1, 0.9)
    store.keep_round(0, "round:0003", {"score": 0.9}, 3, 0.9)
    for number in (0, 1, 2):
        store.end(number, TrialState.FAIL, None, {"reason": "too late"}, {"flops": 9.0})
    assert said(store.trials()) == expected()
    assert [trial.datetime_complete for trial in store.trials()] == ended


def test_a_trial_that_a_lost_driver_left_goes_on(tmp_path: Path, url: str | None) -> None:
    tell(opened(tmp_path, url))
    store = opened(tmp_path, url)
    store.keep_round(3, "round:0002", {"score": 0.5}, 2, 0.5)
    store.end(3, TrialState.COMPLETE, [0.5], {}, {})
    trial = stock_trials(tmp_path, url)[3]
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.5, {2: 0.5})
    assert sorted(trial.user_attrs) == ["candidate", "round:0001", "round:0002"]


def test_a_value_without_its_round_is_told_again(tmp_path: Path) -> None:
    opened(tmp_path, None).add(proposal())
    # A driver that was killed between the two lines of a round has left the first.
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    storage.set_trial_intermediate_value(0, 1, 0.25)
    store = opened(tmp_path, None)
    store.keep_round(0, "round:0001", {"score": 0.5}, 1, 0.5)
    assert store.trials()[0].intermediate_values == {1: 0.5}
    assert store.trials()[0].user_attrs["round:0001"] == {"score": 0.5}


def test_several_objectives_have_a_value_each(tmp_path: Path, url: str | None) -> None:
    store = opened(tmp_path, url, ("score", "parameters"))
    store.add(proposal())
    store.keep_round(0, "round:0001", {"score": 0.5}, 1, None)
    store.end(0, TrialState.COMPLETE, [0.5, 1e6], {}, {})
    (trial,) = stock_trials(tmp_path, url)
    assert (trial.values, trial.intermediate_values) == ([0.5, 1e6], {})


@pytest.mark.parametrize("names", [("score",), ("accuracy", "latency", "flops")])
def test_optunas_own_tools_have_names_for_the_objectives(
    tmp_path: Path, url: str | None, names: tuple[str, ...]
) -> None:
    opened(tmp_path, url, names).close()
    assert stock_study(tmp_path, url).metric_names == list(names)


def test_a_study_from_before_objectives_had_names_is_given_them(tmp_path: Path, url: str | None) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal"))) if url is None else url
    optuna.create_study(storage=storage, study_name="winnow", directions=["maximize", "minimize"])
    for _ in range(2):
        opened(tmp_path, url, ("sparsity", "seconds")).close()
        assert stock_study(tmp_path, url).metric_names == ["sparsity", "seconds"]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_names_that_somebody_has_given_stay(tmp_path: Path, url: str | None) -> None:
    opened(tmp_path, url).close()
    stock_study(tmp_path, url).set_metric_names(["mine"])
    opened(tmp_path, url).close()
    assert stock_study(tmp_path, url).metric_names == ["mine"]


def test_a_study_with_other_objectives_is_refused(tmp_path: Path, url: str | None) -> None:
    opened(tmp_path, url).close()
    with pytest.raises(
        UserError,
        match=r"^The study 'winnow' was begun with other objectives: it has to maximize, not to maximize, minimize",
    ):
        opened(tmp_path, url, ("score", "parameters"))


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"user_attrs": {"candidate": {"modem": 1}}}, "the candidate of trial 0 has no model"),
        ({"state": TrialState.COMPLETE, "value": 0.5}, "trial 0 is complete but has no rounds"),
    ],
)
def test_a_trial_that_is_not_what_was_written_is_named(
    tmp_path: Path, url: str | None, changes: dict[str, object], wrong: str
) -> None:
    store = opened(tmp_path, url)
    store.add(proposal(**changes))
    with pytest.raises(UserError, match=f"is damaged: {wrong}"):
        store.trials()
    with pytest.raises(UserError, match=f"is damaged: {wrong}"):
        read_trials(tmp_path / "study.journal", url, "winnow")


def test_reading_where_nothing_is_makes_nothing(tmp_path: Path, url: str | None) -> None:
    assert read_trials(tmp_path / "study.journal", url, "winnow") == []
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_something_else_is_named(tmp_path: Path) -> None:
    TrialStore.open(tmp_path / "study.journal", None, "mine", objectives_of(ONE))
    with pytest.raises(UserError, match=r"study\.journal has no study 'winnow'\.$"):
        read_trials(tmp_path / "study.journal", None, "winnow")


def test_studies_of_one_database_are_apart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    assert not exists(url, "winnow")
    first, second = (TrialStore.open(tmp_path / "j", url, name, objectives_of(ONE)) for name in ("winnow", "other"))
    assert [first.add(proposal()), second.add(proposal()), first.add(proposal())] == [0, 0, 1]
    assert (exists(url, "winnow"), exists(url, "other"), exists(url, "third")) == (True, True, False)
    assert len(read_trials(tmp_path / "j", url, "winnow")) == 2
    assert read_trials(tmp_path / "j", url, "third") == []
    second.end(0, TrialState.FAIL, None, {}, {})
    assert [trial.state.name for trial in first.trials()] == ["RUNNING", "RUNNING"]


def test_a_space_that_changed_is_told_where_the_record_minds(tmp_path: Path, url: str | None) -> None:
    store = opened(tmp_path, url)
    store.add(proposal())
    other = proposal(params={"source": "subset"}, distributions={"source": CategoricalDistribution(["subset", "real"])})
    if url is None:
        assert store.add(other) == 1
    else:
        with pytest.raises(UserError, match=r"^The study has trials of another space: Categorical.*[^.]\.$"):
            store.add(other)
    assert store.add(proposal()) == len(stock_trials(tmp_path, url)) - 1


def test_what_no_record_can_hold_is_a_defect_and_leaves_nothing(tmp_path: Path, url: str | None) -> None:
    store = opened(tmp_path, url)
    store.add(proposal())
    before = said(store.trials())
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.keep_round(0, "round:0001", {"score": object()}, 1, 0.5)
    assert said(store.trials()) == before
    store.keep_round(0, "round:0001", {"score": 0.5}, 1, 0.5)
    assert store.trials()[0].intermediate_values == {1: 0.5}
