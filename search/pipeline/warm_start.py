"""What a search knows before its first trial: points to try first, and the trials of earlier runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from dp_core.errors import UserError, nearest
from search.config.meaning import SCORES, marked
from search.config.models import SearchConfig, StartSection
from search.config.objectives import Objective
from search.output.wording import show
from search.pipeline.study_reading import trials_of
from search.runs.directory import RunDirectory, find_run
from search.runs.record import config_of, read_run
from search.runs.sources import changed_modules, sources_in
from search.space import Constant, Parameter, Space
from search.space.parameters import is_active
from search.space.place import Place
from search.space.values import Stored, Value, stored, thaw
from search.study.constraints import Limits
from search.study.trials import CANDIDATE, has_rounds, is_rejected, rounds_of, step_of, written_candidate
from search.study.written_points import flattened, value_of
from trainables import Candidate, Score
from trainables.screening.round import Round

EARLIER = "earlier"
"""The user attribute of a trial of an earlier run: where it comes from."""


def points(settings: StartSection, space: Space) -> tuple[dict[str, Stored], ...]:
    """Return the points to try first as Optuna takes them (`Study.enqueue_trial`): values by dotted name.

    Raises:
        UserError: a point has an unknown parameter, a value that it cannot have, or one whose conditions do not hold.
    """
    return tuple(_point(point, space, f"search.start.points[{index}]") for index, point in enumerate(settings.points))


def _point(point: Mapping[str, Any], space: Space, where: str) -> dict[str, Stored]:
    known = {parameter.name: parameter for parameter in space.ordered}
    values: dict[str, Value] = {}
    for name, raw in flattened(point, Place(where)).items():
        place = Place(where, name)
        if name not in known:
            raise place.mistake(f"is not a parameter of the space.{nearest(name, known)}")
        try:
            values[name] = value_of(known[name], raw)
        except ValueError as error:
            raise place.mistake(f"is {show(raw)}, which {error}") from None
    for name in values:
        _check_active(name, values, space, known, Place(where, name))
    return {name: stored(value) for name, value in values.items() if not isinstance(known[name], Constant)}


def _check_active(
    name: str, values: Mapping[str, Value], space: Space, known: Mapping[str, Parameter], place: Place
) -> None:
    """Raise UserError unless the parameter is active wherever the point is completed."""
    for target, wanted in space.needs[name].items():
        needed = f"goes with {target} = {' or '.join(show(thaw(value)) for value in wanted)}"
        if target in values and values[target] not in wanted:
            raise place.mistake(f"{needed}, but the point has {show(thaw(values[target]))}.")
        if target not in values and not isinstance(known[target], Constant):
            raise place.mistake(f"{needed}, which the point does not say.")


def proxy_settings(config: SearchConfig) -> dict[str, Any]:
    """Return the settings, by dotted name, on which it depends what the proxy accuracy of a candidate means."""
    by_recipe = {"retrain.recipe": config.retrain.recipe} if config.search.ladder.real_epochs else {}
    return {**dict(marked(config, SCORES)), **by_recipe}


def check_runs(paths: Sequence[Path], data_digests: Mapping[str, str], proxy: Mapping[str, Any]) -> None:
    """See that all of `paths` are earlier runs whose trials mean the same as this run's; see `earlier_trials`."""
    for path in paths:
        _opened(path, data_digests, proxy)


def earlier_trials(
    paths: Sequence[Path],
    space: Space,
    objectives: Sequence[Objective],
    score: Score,
    data_digests: Mapping[str, str],
    *,
    proxy: Mapping[str, Any],
    sets: Mapping[str, str],
    limits: Limits,
) -> tuple[list[FrozenTrial], list[str]]:
    """Return the trials of earlier runs that a sampler can learn from, for `Study.add_trial`, and what to say of them.

    They are the finished ones and those stopped early, with values of this run's objectives, worked out from their
    rounds. With several objectives those stopped early have none, as Optuna has no intermediate values then.

    Args:
        paths: run directories.
        space: what the trials must be points of.
        objectives: of this run.
        score: of this run.
        data_digests: digests of this run's splits, as run.yaml has them.
        proxy: `proxy_settings` of this run.
        sets: digests of the sets that this run screens with, by `Candidate.data_key`.
        limits: of this run; the trials say by how much they break them.

    Returns:
        The trials, and sentences on those that were left out.

    Raises:
        UserError: a path is no search, or one on other data or with other settings of the proxy.
    """
    found: list[FrozenTrial] = []
    notes: list[str] = []
    for path in dict.fromkeys(paths):
        run, recorded = _opened(path, data_digests, proxy)
        known = trials_of(run, config_of(run, recorded, SearchConfig))
        ended = [trial for trial in known if _has_ended(trial)]
        left_out: Counter[str] = Counter()
        for trial in ended:
            try:
                written = written_candidate(trial)
                params = _params(written, space)
                candidate = Candidate.parse(written, limits.classes)
                _check_set(candidate.data_key, recorded, sets)
                values = _Values(trial, objectives, score)
                excess = limits.before(candidate) | (limits.after(candidate, values.last) if values.final else {})
            except _LeftOut as reason:
                left_out[str(reason)] += 1
                continue
            found.append(
                create_trial(
                    state=trial.state,
                    values=values.final,
                    params=params,
                    distributions=space.distributions(params),
                    intermediate_values=values.intermediate,
                    user_attrs={CANDIDATE: written, EARLIER: f"{path}, trial {trial.number}"},
                    constraints=excess,
                )
            )
        notes += [f"{count} of {len(ended)} trials of {path} {reason}." for reason, count in left_out.items()]
        if not ended:
            notes.append(f"{path} has no trial that was finished or stopped early.")
    return found, notes


class _LeftOut(Exception):
    """Why a trial of an earlier run is no use."""


class _Values:
    """What the rounds of an earlier trial come to under this run's objectives."""

    def __init__(self, trial: FrozenTrial, objectives: Sequence[Objective], score: Score) -> None:
        rounds = [_scored(found, score) for found in rounds_of(trial)]
        self.last = rounds[-1]
        self.final: list[float] | None = None
        self.intermediate: dict[int, float] = {}
        if trial.state == TrialState.COMPLETE:
            self.final = [objective.value(self.last) for objective in objectives]
            for objective, value in zip(objectives, self.final, strict=True):
                if not math.isfinite(value):
                    raise _LeftOut(f"have no {objective.name}")
        if len(objectives) == 1:
            values = {step_of(found): objectives[0].value(found) for found in rounds}
            self.intermediate = {step: value for step, value in values.items() if math.isfinite(value)}


def _opened(
    path: Path, data_digests: Mapping[str, str], proxy: Mapping[str, Any]
) -> tuple[RunDirectory, dict[str, Any]]:
    try:
        run = find_run(str(path))
        recorded = read_run(run)
        config = config_of(run, recorded, SearchConfig)
    except UserError as error:
        raise UserError(f"search.start.runs: {error}") from error
    differing = [split for split, digest in data_digests.items() if recorded["data"].get(split) != digest]
    if differing:
        raise UserError(
            f"search.start.runs: {path} was run on other data: its {' and '.join(differing)} images are not this run's."
        )
    changed = changed_modules(recorded, sources_in({"space": config.space}))
    if changed:
        raise UserError(
            f"search.start.runs: {path} was run with another {' and '.join(changed)}: its source has changed since."
        )
    earlier = proxy_settings(config)
    for name, value in proxy.items():
        if earlier.get(name) != value:
            raise UserError(
                f"search.start.runs: {path} was run with {name} {show(earlier.get(name))}, not {show(value)}, "
                "so that its proxy accuracies mean something else."
            )
    return run, recorded


def _has_ended(trial: FrozenTrial) -> bool:
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended and not is_rejected(trial) and has_rounds(trial)


def _params(written: Mapping[str, Any], space: Space) -> dict[str, Stored]:
    """Return what Optuna would have stored for the candidate, if it is a point of the space."""
    flat = flattened(written, Place("candidate"))
    values: dict[str, Value] = {}
    params: dict[str, Stored] = {}
    for parameter in space.ordered:
        if not is_active(parameter, values):
            continue
        try:
            values[parameter.name] = value_of(parameter, flat[parameter.name])
        except (KeyError, ValueError):
            raise _LeftOut("are not in this space") from None
        if not isinstance(parameter, Constant):
            params[parameter.name] = stored(values[parameter.name])
    if flat.keys() != values.keys():
        raise _LeftOut("are not in this space")
    return params


def _check_set(key: str, recorded: Mapping[str, Any], sets: Mapping[str, str]) -> None:
    if key in sets and recorded.get("distilled_sets", {}).get(key) != sets[key]:
        raise _LeftOut(f"were screened with another set '{key}'")


def _scored(found: Round, score: Score) -> Round:
    """Return the round with the score that this run gives it; where there is no accuracy the score is zero-cost."""
    return replace(found, score=score(found.proxy_accuracy, found.parameters_left)) if found.has_accuracy else found
