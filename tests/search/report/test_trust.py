from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from search.pipeline.audit_draw import draw
from search.report.trust import _weight as weight_of
from search.report.trust import trust
from tests.search.report.report_rows import model_row


def test_five_models_in_order() -> None:
    found = trust([model_row(n, proxy=0.5 - 0.01 * n, test=0.7 - 0.02 * n) for n in range(1, 6)])
    assert found.promoted is not None
    assert found.promoted.rho == pytest.approx(1)
    assert found.overall is None
    assert found.verdict.startswith("Within limits, yes: the cheap score ordered the retrained models better")
    assert any("picked trial 11, the best of them" in detail for detail in found.details)
    assert any("nothing about the candidates that it rejected" in detail for detail in found.details)


def test_reversed_models() -> None:
    found = trust([model_row(n, proxy=0.01 * n, test=0.7 - 0.02 * n) for n in range(1, 7)])
    assert found.verdict.startswith("No: ")
    # The highest proxy is that of the last of six, 5 steps of 2 points below the best.
    assert any("picked trial 16, 10.00 points of test accuracy below" in detail for detail in found.details)


def test_no_relation() -> None:
    proxies = [0.3, 0.5, 0.1, 0.4, 0.2]
    found = trust([model_row(n, proxy=p, test=0.7 - 0.02 * n) for n, p in enumerate(proxies)])
    assert found.verdict.startswith("Not shown")


@pytest.mark.parametrize(("models", "words"), [(4, "only 4 models were"), (1, "only 1 model was")])
def test_too_few(models: int, words: str) -> None:
    found = trust([model_row(n, proxy=0.1 * n, test=0.1 * n) for n in range(1, models + 1)])
    assert found.promoted is None
    assert found.verdict.startswith("Too few to say")
    assert words in found.verdict
    assert "better than counting parameters could not be found out" in found.verdict
    assert not found.alarm


def test_five_models_of_one_accuracy_are_not_too_few() -> None:
    found = trust([model_row(n, proxy=0.1 * n, test=0.5) for n in range(1, 6)])
    assert found.verdict.startswith("Nothing can be said: the models all have the same proxy accuracy, or all the same")


def test_models_are_compared_within_their_source() -> None:
    """By hand: each source in order, and the sources against each other backwards, must not read as a bad score."""
    rows = [model_row(n, proxy=0.1 * n, test=0.5 + 0.01 * n) for n in range(1, 6)]
    rows += [model_row(n, proxy=0.1 * n, test=0.1 + 0.01 * n, source="elsewhere") for n in range(6, 9)]
    found = trust(rows)
    assert found.promoted is not None
    assert found.promoted.pairs == 5
    assert found.promoted.rho == pytest.approx(1.0)
    assert sum("the best of them." in detail for detail in found.details) == 2
    assert any("not on one scale" in detail for detail in found.details)


def audited_rows(parameters: list[int]) -> list[dict[str, object]]:
    """Four promoted models that the proxy orders backwards, and two audited ones that it puts below them, rightly."""
    promoted = [model_row(n, proxy=0.50 + 0.01 * n, test=0.70 - 0.01 * n) for n in range(4)]
    audited = [model_row(4 + n, proxy=0.30 - 0.1 * n, test=0.50 - 0.1 * n, audited=True) for n in range(2)]
    return [{**row, "parameters_left": left} for row, left in zip([*promoted, *audited], parameters, strict=True)]


def test_the_audit_speaks_for_all_candidates() -> None:
    """Each of the 2 audited models stands for 10 of 20 candidates: as if their pairs were there 10 times."""
    rows = audited_rows([50, 51, 52, 53, 54, 55])
    found = trust(rows, population=20)
    weights = [1, 1, 1, 1, 10, 10]
    repeated = [np.repeat([row[name] for row in rows], weights) for name in ("proxy_accuracy", "test_accuracy")]
    assert found.overall is not None
    assert found.overall.rho == pytest.approx(scipy.stats.spearmanr(*repeated).statistic)
    assert found.overall.rho > 0.8
    assert found.overall.pairs == 6
    assert found.promoted is None  # four models
    assert "ordered all candidates better than chance" in found.verdict
    assert any("each audited one stands for 10 candidates" in detail for detail in found.details)
    assert any("drawn at random from the 20 that were not promoted" in detail for detail in found.details)
    assert not any("nothing about the candidates that it rejected" in detail for detail in found.details)


def test_an_audit_of_one_speaks_for_nobody() -> None:
    rows = audited_rows([50, 51, 52, 53, 54, 55])[:5]
    found = trust(rows, population=20)
    assert found.overall is None
    assert found.verdict.startswith("Too few to say")


class TestParameterCount:
    def test_a_score_that_is_no_better_is_an_alarm(self) -> None:
        """The parameters order six models perfectly, the proxy all but two neighbours."""
        proxies = [0.1, 0.2, 0.3, 0.4, 0.6, 0.5]
        rows = [model_row(n, proxies[n], 0.1 * n, parameters_left=100 + n) for n in range(6)]
        found = trust(rows)
        assert found.alarm
        assert found.verdict.startswith("The cheap score is no better than counting parameters")
        assert "Within limits, yes" in found.verdict
        assert any("rank correlation of +1.00 with test accuracy, the cheap score +0.94" in d for d in found.details)

    def test_a_score_as_good_as_the_parameters_is_no_better(self) -> None:
        assert trust([model_row(n, 0.1 * n, 0.1 * n, parameters_left=100 + n) for n in range(6)]).alarm

    def test_a_better_score_is_none(self) -> None:
        found = trust([model_row(n, 0.1 * n, 0.1 * n, parameters_left=100 - n) for n in range(8)])
        assert not found.alarm
        assert found.verdict.endswith("The cheap score is better than counting parameters.")

    def test_a_lead_within_chance_is_said_to_be_that(self) -> None:
        """The proxy is perfect, the parameters swap neighbours: half of all resamples of five tell no difference."""
        sizes = [2, 1, 4, 3, 5]
        found = trust([model_row(n, 0.1 * n, 0.1 * n, parameters_left=sizes[n]) for n in range(5)])
        assert not found.alarm
        assert found.verdict.startswith("The cheap score has not been shown to be better than counting parameters")

    def test_the_comparison_is_over_all_candidates_where_there_is_an_audit(self) -> None:
        found = trust(audited_rows([60, 59, 58, 57, 10, 5]), population=20)
        assert found.alarm
        assert any("On the same 6 models" in detail for detail in found.details)

    def test_equal_sizes_cannot_be_compared(self) -> None:
        found = trust([model_row(n, 0.1 * n, 0.1 * n) for n in range(6)])
        assert not found.alarm
        assert found.verdict.endswith("too few models were retrained, or all are alike.")


def test_numbers_of_images_a_class_are_said_to_be_on_different_scales() -> None:
    rows = [model_row(n, 0.1 * n, 0.1 * n, ipc=ipc) for n, ipc in enumerate((1, 10, 10, 1, 1, 10), start=1)]
    assert "search.ladder.real_epochs" in " ".join(trust(rows).details)
    assert "search.ladder.real_epochs" not in " ".join(trust([{**row, "ipc": 10} for row in rows]).details)


def test_an_audited_model_stands_for_its_share_of_those_that_come_to_something() -> None:
    """Of 2 drawn at first one came to nothing, so half of 40 candidates are taken to; 20 are shared by 2 models."""
    rows = audited_rows([50, 51, 52, 53, 54, 55])
    found = trust(rows, population=40, lost=1, further={15})
    weights = [1, 1, 1, 1, 10, 10]
    repeated = [np.repeat([row[name] for row in rows], weights) for name in ("proxy_accuracy", "test_accuracy")]
    assert found.overall is not None
    assert found.overall.rho == pytest.approx(scipy.stats.spearmanr(*repeated).statistic)
    assert any("each audited one stands for 10 candidates" in detail for detail in found.details)


def test_where_all_drawn_at_first_came_to_nothing_nothing_is_said_of_all_candidates() -> None:
    rows = audited_rows([50, 51, 52, 53, 54, 55])
    assert trust(rows, population=40, lost=2, further={14, 15}).overall is None


def test_a_model_stands_for_itself_at_least() -> None:
    """Of a population of 3 all were drawn: 2 models and one that came to nothing."""
    rows = audited_rows([50, 51, 52, 53, 54, 55])
    found = trust(rows, population=3, lost=1, further={15})
    assert found.overall is not None
    told = [[row[name] for row in rows] for name in ("proxy_accuracy", "test_accuracy")]
    assert found.overall.rho == pytest.approx(scipy.stats.spearmanr(*told).statistic)


def test_the_weights_estimate_all_candidates_without_bias() -> None:
    """By simulation: the weights of the models that were drawn add up to the candidates that come to something."""
    population, lost = range(20), set(range(6))
    totals = []
    for seed in range(3000):
        drawn = draw(population, 4, seed, lost)
        rows = [
            model_row(number, 0.1, 0.5, audited=True, trial=number)
            for number in (*drawn.first, *drawn.further)
            if number not in lost
        ]
        weight = weight_of(rows, len(population), len(lost.intersection(drawn.first)), set(drawn.further))
        totals.append(0.0 if np.isnan(weight) else weight * len(rows))
    assert np.mean(totals) == pytest.approx(14, abs=0.3)
