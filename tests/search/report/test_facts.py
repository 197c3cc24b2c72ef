from __future__ import annotations

from search.report import facts
from tests.search.report.report_rows import model_row, no_rounds, trial_row


def test_cost_is_summed_by_source() -> None:
    rows = [
        trial_row(0, "COMPLETE", 0.4, source="real", seconds=10.0, image_gradients=100, proxy_accuracy_sem=0.01),
        trial_row(1, "PRUNED", 0.9, source="real", seconds=2.0, image_gradients=20),
        trial_row(2, "COMPLETE", 0.5, source="distilled", seconds=3.0, image_gradients=30),
        no_rounds(3, "FAIL"),
    ]
    assert facts.cost_by_source(rows) == [
        facts.SourceCost("real", 2, 12.0, 120, 6.0, (rows[0],)),
        facts.SourceCost("distilled", 1, 3.0, 30, 3.0, (rows[2],)),
    ]


def test_screening_an_audited_trial_to_its_end_is_counted() -> None:
    """The table of trials ends where it was stopped, at 2 s; its ticket took 9 s in all."""
    trials = [trial_row(0, "COMPLETE", 0.4, seconds=5.0, image_gradients=50), trial_row(1, "PRUNED", 0.2, seconds=2.0)]
    models = [
        model_row(1, 0.4, 0.6, trial=0, screening_seconds=5.0, image_gradients=50),
        model_row(2, 0.3, 0.5, trial=1, audited=True, screening_seconds=9.0, image_gradients=90),
    ]
    assert facts.screening_cost(trials, models) == facts.Cost(14.0, 140)


def test_rejected_proposals_are_no_trials() -> None:
    trials = [
        trial_row(0, "COMPLETE", 0.4),
        no_rounds(1, "REJECTED", broken_constraints="max_flops"),
        no_rounds(2, "REJECTED", broken_constraints="max_flops, max_parameters"),
        # Trained, and found too large afterwards: not rejected before training.
        trial_row(3, "COMPLETE", 0.4, broken_constraints="max_flops"),
    ]
    shown = {card.label: card.value for card in facts.cards(trials, [])}
    assert (shown["Trials"], shown["Rejected"]) == ("2", "2")
    assert facts.rejections(trials) == [("max_flops", 2), ("max_parameters", 1)]
    assert facts.unsuccessful(trials) == []
    assert "Rejected" not in {card.label for card in facts.cards(trials[:1], [])}


def test_reasons_that_differ_in_figures_alone_are_one() -> None:
    trials = [
        trial_row(0, "PRUNED", 0.1, reason="stopped early at 0.31"),
        trial_row(1, "PRUNED", 0.1, reason="stopped early at 0.4"),
        trial_row(2, "FAIL", 0.1, reason="ValueError: a step of -1e3"),
        trial_row(3, "COMPLETE", 0.1),
        no_rounds(4, "FAIL"),
    ]
    assert facts.reasons(trials) == [
        ("failed", "ValueError: a step of …e…", 1),
        ("failed", "not recorded", 1),
        ("stopped early", "stopped early at …", 2),
    ]


def test_what_collapsed_is_not_called_stopped_early() -> None:
    trials = [
        trial_row(0, "COMPLETE", 0.4),
        trial_row(1, "PRUNED", 0.2, reason="stopped early after round 2: others were better"),
        trial_row(2, "PRUNED", 0.1, reason="every image is given the same class"),
        trial_row(3, "PRUNED", 0.1, reason="every image is given the same class"),
    ]
    shown = {card.label: card.value for card in facts.cards(trials, [])}
    assert (shown["Stopped early"], shown["Collapsed"]) == ("1", "2")
    assert [facts.outcome(row) for row in trials] == ["finished", "stopped early", "collapsed", "collapsed"]
    assert "Collapsed" not in {card.label for card in facts.cards(trials[:2], [])}


def test_proxies_that_are_on_different_scales_are_not_compared() -> None:
    trials = [
        trial_row(0, "COMPLETE", 0.62, source="real", fidelity="real"),
        trial_row(1, "COMPLETE", 0.21, source="distilled", fidelity="distilled-7"),
        trial_row(2, "COMPLETE", 0.33, source="distilled", fidelity="distilled-7"),
        trial_row(3, "COMPLETE", 0.44, source="distilled", fidelity="distilled-9"),
    ]
    said = facts.headline(trials, [])
    assert "62.0 % on real, by trial 0" in said
    assert "33.0 % on distilled-7, by trial 2" in said
    assert "44.0 % on distilled-9, by trial 3" in said
    assert "each on a scale of its own" in said
    assert "each on a scale" not in facts.headline(trials[:1], [])
    of_distilled = next(cost for cost in facts.cost_by_source(trials) if cost.source == "distilled")
    assert [row["trial"] for row in of_distilled.best] == [2, 3]


def test_a_best_model_that_only_the_audit_found_says_so() -> None:
    found = facts.headline([], [model_row(1, 0.3, 0.7, audited=True), model_row(2, 0.4, 0.6)])
    assert found.endswith("It was not promoted: it was drawn at random for the audit.")
    assert "audit" not in facts.headline([], [model_row(1, 0.3, 0.7)])
