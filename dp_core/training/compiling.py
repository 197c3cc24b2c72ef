"""Whether to compile a training's network: compiling costs seconds, which the steps to come must win back.

In mode `auto` the answer comes from what was measured on this machine. A training that is long enough measures once for
each network, batch and number format: a few passes as the network is, and, if compiling might pay, the warm-up and a
few compiled passes. All later ones, in any process, read the measurement and only decide. So `auto` may decide
differently on another machine or with an empty cache folder, and results then differ in rounding and in the draws of
dropout; who needs them equal to the bit names the mode. A training that is resumed goes on in the mode that it had.

On a GPU, steps that are recorded as graphs gain less than their passes, which are timed launch by launch: what can be
lost is one warm-up from the cache.

`WINNOW_COMPILE=0` turns compiling off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from dp_core.training import measurements
from dp_core.training.measurements import Measurement
from dp_core.training.network import Mode, Network
from dp_core.training.warmup import Candidate, Layout, NotCompiled, Work, compiled_network, pass_seconds

# A training with less than both of these is not even measured. Four passes are less than 1 % of 500 steps; 50,000
# images take the fused ConvNet-3 w128 18 s on two cores, which no compiler wins a warm-up back on.
FEW_STEPS = 500
FEW_IMAGES = 50_000

# The warm-up of a network that has not been compiled yet, in seconds: 20 to 30 were measured on two cores.
TYPICAL_WARM_UP = 30.0
# Its share when the compiled code comes from the cache folder: 1/15 to 2/5 were measured.
CACHED_SHARE = 0.4
# How many times faster a compiled pass is at the very best. As it is, a network has been up to 4 times slower than
# compiled; in fused blocks it has been faster than compiled in all that was measured.
OPTIMISTIC_GAIN = {"eager": 3.0, "fused": 1.3}
# What compiling must save over what it costs: measurements on a busy machine are off by that much.
SAFETY = 1.5

Compile = Callable[[Work], tuple[Network, float]]
Measure = Callable[[Sequence[Candidate], Work], list[float] | None]


def choose_network(
    network: Network,
    wanted: Mode,
    work: Work,
    *,
    compile: Compile = compiled_network,
    measure: Measure = pass_seconds,
) -> Network:
    """Return the network to do `work` with: `network`, or a compiled one around the same model.

    Whatever happens, nothing of the training has changed but the time, and perhaps the model's memory layout if the
    network is compiled.

    Args:
        network: one that is not compiled.
        wanted: what the recipe says; anything but `auto` and `compiled` leaves it at `network`.
        work: what is to be done, beginning now.
        compile: compiles for this work, and returns the seconds it took, or raises NotCompiled.
        measure: returns the seconds of a pass of each candidate, None if that fails.
    """
    if wanted not in ("auto", "compiled") or os.environ.get("WINNOW_COMPILE") == "0":
        return network
    if wanted == "compiled":
        return _compiled(work, compile) or network
    if is_short(work.steps, len(work.images)):
        return network
    key = measurements.key_of(work.model, work.images, precision=work.precision, mode=network.mode)
    known = measurements.load(key)
    if known is None or (not known.tried and might_pay(work.steps, known.uncompiled, network.mode)):
        return _probe(network, work, key, None if known is None else known.uncompiled, compile, measure)
    return (pays(work.steps, known) and _compiled(work, compile)) or network


def is_short(steps: int, images: int) -> bool:
    """Return whether `steps` steps of `images` images are too little work to measure anything for."""
    return steps < FEW_STEPS and steps * images < FEW_IMAGES


def might_pay(steps: int, seconds: float, mode: str) -> bool:
    """Return whether compiling may pay for a network in `mode` of which only the `seconds` of a pass are known."""
    return steps * seconds * (1 - 1 / OPTIMISTIC_GAIN[mode]) > SAFETY * TYPICAL_WARM_UP


def pays(steps: int, measured: Measurement) -> bool:
    """Return whether a compiled network, its code in the cache folder by now, saves more in `steps` than it costs."""
    if measured.compiled is None:
        return False
    return steps * (measured.uncompiled - measured.compiled) > SAFETY * CACHED_SHARE * measured.warm_up


def _compiled(work: Work, compile: Compile) -> Network | None:
    try:
        return compile(work)[0]
    except NotCompiled:
        return None


def _probe(
    network: Network, work: Work, key: str, seconds: float | None, compile: Compile, measure: Measure
) -> Network:
    """Measure, `seconds` of a pass being known from before or not, and decide."""
    plain = Candidate(network, Layout(work.model))
    alone = measure([plain], work) if seconds is None else [seconds]
    if alone is None:
        return network
    if not might_pay(work.steps, alone[0], network.mode):
        measurements.save(key, Measurement(alone[0], None, 0.0, tried=False))
        return network
    try:
        compiled, warm_up = compile(work)
    except NotCompiled as failure:
        if failure.lasting:
            measurements.save(key, Measurement(alone[0], None, 0.0))
        return network
    both = measure([plain, Candidate(compiled, Layout(work.model))], work)  # the machine may have become busy since
    if both is not None:
        measured = Measurement(both[0], both[1], warm_up)
        measurements.save(key, measured)
        if pays(work.steps, measured):  # as those decide that read it: the rounds of one pruning are executed alike
            return compiled
    plain.layout.restore()
    return network
