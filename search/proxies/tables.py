"""The columns of the Parquet tables of `winnow proxy-eval`."""

from __future__ import annotations

import pyarrow as pa

from search.output.tables import schema_of

_TEXT, _WHOLE, _NUMBER = pa.string(), pa.int64(), pa.float64()


def _numbers(*names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names, _NUMBER)


_INTERVALS = _numbers(*(f"{name}{end}" for name in ("spearman", "kendall") for end in ("", "_low", "_high")))
_COSTS = _numbers("seconds", "processor_seconds", "image_gradients", "flops")

SCORES = schema_of(
    {
        "architecture": _TEXT,
        "proxy": _TEXT,
        "replicate": _WHOLE,
        "value": _NUMBER,
        "seconds": _NUMBER,
        "processor_seconds": _NUMBER,
        "image_gradients": _WHOLE,
        "forward_images": _WHOLE,
        "flops": _NUMBER,
        "status": _TEXT,
        "reason": _TEXT,
    },
    always=("architecture", "proxy", "replicate", "status"),
)
"""One row per architecture × score × replicate.

A value is higher for what is expected to be better; one that could not be had has a `status` and a `reason`.
"""
TRUTHS = schema_of(
    {
        "architecture": _TEXT,
        "parameters": _WHOLE,
        "forward_flops": _WHOLE,
        "accuracy": _NUMBER,
        "accuracy_std": _NUMBER,
        "seeds": _WHOLE,
        "learning_rate": _NUMBER,
        "image_gradients": _WHOLE,
        "flops": _NUMBER,
        "seconds": _NUMBER,
        "processor_seconds": _NUMBER,
        "status": _TEXT,
        "reason": _TEXT,
    },
    always=("architecture", "parameters", "forward_flops", "status"),
)
"""One row per architecture.

`accuracy` is a fraction, the mean over `seeds`; `forward_flops` are of one image forward, `flops` and the other costs
of all its trainings, those that chose the learning rate too.
"""
ANSWERS = schema_of(
    {
        "proxy": _TEXT,
        "kind": _TEXT,
        "architectures": _WHOLE,
        "failed": _WHOLE,
        **_INTERVALS,
        **_COSTS,
        "baseline": _TEXT,
        **_numbers("advantage", "advantage_low", "advantage_high"),
    },
    always=("proxy", "kind", "architectures", "failed"),
)
"""One row per score.

Correlations lie in [-1, 1] and advantages in [-2, 2], `_low` and `_high` being the ends of their 95 % intervals; costs
are means per architecture.
"""
SUBSETS = schema_of(
    {"proxy": _TEXT, "subset": _TEXT, "architectures": _WHOLE, **_INTERVALS},
    always=("proxy", "subset", "architectures"),
)
"""One row per score × subset of the architectures."""
REGRETS = schema_of(
    {"proxy": _TEXT, "k": _WHOLE, "regret": _NUMBER, "random_regret": _NUMBER},
    always=("proxy", "k", "regret", "random_regret"),
)
"""One row per score × k; regrets are fractions of accuracy."""
BUDGETS = schema_of(
    {"proxy": _TEXT, "k": _WHOLE, "unit": _TEXT, "cost": _NUMBER, "accuracy": _NUMBER},
    always=("proxy", "k", "unit", "cost", "accuracy"),
)
"""One row per way to choose × k × unit.

`cost` is the total in `unit`, `accuracy` a fraction, that of the architecture that is found.
"""
