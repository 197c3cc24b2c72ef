from __future__ import annotations

import pytest
from scipy.stats import beta

from search.report.audit import Audit, audit_of, audit_sentences
from tests.search.report.report_rows import model_row


def audit(promoted: list[float], audited: list[float], population: int = 40) -> Audit:
    rows = [model_row(n, 0.4, test) for n, test in enumerate(promoted)]
    found = audit_of(rows + [model_row(n, 0.2, test, audited=True) for n, test in enumerate(audited)], population)
    assert found is not None
    return found


def test_what_the_audit_found() -> None:
    found = audit([0.60, 0.70], [0.65, 0.75, 0.50, 0.60])
    assert (found.audited, found.population) == (4, 40)
    assert (found.best_audited, found.best_promoted) == (0.75, 0.70)
    assert found.regret == pytest.approx(0.05)
    # A tie beats nobody: 0.65 and 0.75 beat 0.60, and 0.75 alone 0.70.
    assert (found.beat_worst.better, found.beat_best.better) == (2, 1)


def test_nothing_better_was_missed() -> None:
    found = audit([0.60, 0.70], [0.5, 0.55])
    assert found.regret == 0
    # By hand, none of n: from 0 to 1 - (α / 2)^(1 / n), Clopper and Pearson 1934.
    assert (found.beat_worst.low, found.beat_worst.high) == pytest.approx((0, 1 - 0.025**0.5))


def test_all_were_better() -> None:
    found = audit([0.60, 0.70], [0.8, 0.85, 0.9])
    assert (found.beat_best.low, found.beat_best.high) == pytest.approx((0.025 ** (1 / 3), 1))


def test_without_both_there_is_nothing_to_compare() -> None:
    assert audit_of([model_row(1, 0.4, 0.6)], 40) is None
    assert audit_of([model_row(1, 0.4, 0.6, audited=True)], 40) is None


def test_in_words() -> None:
    missed = " ".join(audit_sentences(audit([0.60, 0.70], [0.65, 0.75, 0.50, 0.60], 1234)))
    assert "4 candidates drawn at random from the 1,234 that were not promoted" in missed
    assert "reached 75.00 % test accuracy, 5.00 points above the best promoted one" in missed
    assert "the regret is 5.00 points" in missed
    assert "2 of 4 audited candidates beat the worst promoted one and 1 the best" in missed
    fine = " ".join(audit_sentences(audit([0.60, 0.70], [0.5, 0.55])))
    assert "15.00 points below the best promoted one" in fine
    assert "0.0 to 84.2 % are better than the worst promoted model" in fine
    assert "as good as the best promoted one. So the audit" in " ".join(audit_sentences(audit([0.7], [0.7])))


def test_what_came_to_nothing_counts_as_worse() -> None:
    rows = [model_row(1, 0.4, 0.6), model_row(2, 0.2, 0.7, audited=True)]
    found = audit_of(rows, 40, lost=3)
    assert found is not None
    assert (found.audited, found.lost) == (4, 3)
    # Clopper–Pearson for 1 of 4: 0.975 = (1 - low)^4 and, by scipy's beta distribution, high = B(0.975; 2, 3).
    assert found.beat_best.better == 1
    assert found.beat_best.low == pytest.approx(1 - 0.975**0.25)
    assert found.beat_best.high == pytest.approx(beta.ppf(0.975, 2, 3))
    assert "3 of them came to nothing" in audit_sentences(found)[0]
    assert "1 of 4 audited candidates beat the worst" in audit_sentences(found)[1]


def test_those_drawn_in_place_of_others_tell_the_regret_but_no_share() -> None:
    rows = [
        model_row(1, 0.4, 0.6),
        model_row(2, 0.2, 0.5, audited=True),
        model_row(3, 0.2, 0.7, audited=True),
        model_row(4, 0.2, 0.8, audited=True),
    ]
    # Drawn were trials 12, two that came to nothing, and then 13 and 14 in their places.
    found = audit_of(rows, 40, lost=2, further={13, 14})
    assert found is not None
    assert (found.audited, found.lost, found.further) == (3, 2, 2)
    assert found.regret == pytest.approx(0.2)
    # Clopper–Pearson for none of 3.
    assert (found.beat_worst.better, found.beat_worst.low) == (0, 0)
    assert found.beat_worst.high == pytest.approx(1 - 0.025 ** (1 / 3))
    first, second = audit_sentences(found)
    assert "3 candidates drawn at random from the 40" in first
    assert "2 of them came to nothing" in first
    assert "For these 2 more candidates were drawn, which the shares leave out." in first
    assert "0 of 3 audited candidates beat the worst" in second
