"""NSGA-II on conditional spaces."""

from __future__ import annotations

from search.space import Space
from search.study.sampling.genetic import ConditionalNSGAIISampler
from tests.search.study.sampling.small import Searched, search

SPACE = {
    "kind": {"choice": ["plain", "tuned"]},
    "rate": {"float": [0.0, 1.0], "when": {"kind": "tuned"}},
    "size": {"float": [0.0, 1.0]},
}


def sampler_in(study: Searched) -> ConditionalNSGAIISampler:
    sampler = study.sampler()
    assert isinstance(sampler, ConditionalNSGAIISampler)
    return sampler


def test_conditional_parameters_are_inherited() -> None:
    # `rate` is all that matters: drawn at random, a tenth would be above 0.9.
    space = Space.parse(SPACE)
    study = Searched("nsga2", space, trials=300)
    search(study, 300, lambda params: params.get("rate", -1.0))
    last = [trial.params.get("rate", -1.0) for trial in study.trials[-60:]]
    assert sum(rate > 0.9 for rate in last) > 30


def test_generations_are_lots_of_trials_that_ended() -> None:
    space = Space.parse(SPACE)
    study = Searched("nsga2", space, trials=100)  # ten a generation
    search(study, 24, lambda params: params["size"], pending=0)
    study.ask()
    elite = sampler_in(study)._elite
    assert len(elite) == 3
    values = [trial.params["size"] for trial in study.trials]
    # The parents of generation 1 are the first ten, those of generation 2 the best ten of twenty.
    assert {trial.number for trial in elite[1]} == set(range(10))
    best = sorted(range(20), key=lambda number: -values[number])[:10]
    assert {trial.number for trial in elite[2]} == set(best)


def test_a_resumed_search_goes_on_from_its_generation() -> None:
    space = Space.parse(SPACE)
    study = Searched("nsga2", space, trials=100)
    search(study, 24, lambda params: params["size"], pending=0)
    study.ask()
    resumed = Searched("nsga2", space, trials=100, known=[trial for trial in study.trials if trial.state.is_finished()])
    resumed.ask()
    numbers = [[trial.number for trial in lot] for lot in sampler_in(study)._elite]
    assert [[trial.number for trial in lot] for lot in sampler_in(resumed)._elite] == numbers
