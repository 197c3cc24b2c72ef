"""What does an iteration of trajectory matching cost, in seconds and memory, against a straightforward one?

    python -m benchmarks.trajectory_matching

Speed: ConvNet-3 of width 128, 10 images a class, 30 steps, siamese augmentation, the forms taking turns in one process:

    plain      eager float32, autograd keeps the graph of all steps (benchmarks/plain_matching.py)
    eager      activations of one step at a time, float32, the same gradient
    compiled   likewise; first derivatives by the training engine, second ones as compiled code with bfloat16
    tesla      compiled, with the dependence of later steps on earlier ones dropped

The goal, 3 times the speed of `plain`, is for `compiled`, which differentiates the same thing. Its gradients of images
and learning rate are compared with those of `plain`; so that bfloat16 is not blamed for what every rounding does after
30 steps, the first column of `agreement` is after one step.

Memory: what an iteration of each form adds to a process of its own, for 10 to 80 steps at width 32.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import replace_all_batch_norm_modules_

from benchmarks.measuring import alone, as_a_program, interleaved, provenance, ratios, timing_parser_of, write_report
from benchmarks.plain_matching import match
from dp_core.data.registry import AUGMENTATIONS
from dp_core.device import peak_memory
from dp_core.distillation.inner_gradient import InnerGradient, InnerMode
from dp_core.distillation.trajectory_matching import matching_loss, squared_distance
from dp_core.distillation.unrolling import Batch, Unrolled
from dp_core.models import ModelSpec, build
from dp_core.seeds import generator

CLASSES, IPC, RATE = 10, 10, 0.02
WIDTH, STEPS, MEMORY_WIDTH, MEMORY_STEPS = 128, 30, 32, (10, 20, 40, 80)
GOAL = 3.0


@dataclass(frozen=True)
class Outcome:
    """Of one iteration: seconds, loss, gradients."""

    seconds: float
    loss: float
    images: Tensor
    rate: float


class Problem:
    """A network with the parameters that a match begins and ends at, and random images."""

    def __init__(self, width: int) -> None:
        spec = ModelSpec("convnet", {"depth": 3, "width": width})
        self.model = replace_all_batch_norm_modules_(build(spec, (3, 32, 32), CLASSES, seed=0).train())
        other = build(spec, (3, 32, 32), CLASSES, seed=1)
        self.begin = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        towards = dict(other.named_parameters())
        self.goal = {name: value + 0.1 * (towards[name].detach() - value) for name, value in self.begin.items()}
        self.images = torch.randn(CLASSES * IPC, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        self.labels = torch.arange(CLASSES).repeat_interleave(IPC)
        self._inner: dict[str, InnerGradient] = {}

    def augment(self, images: Tensor, step: int) -> Tensor:
        """Return the images as step `step` sees them."""
        return AUGMENTATIONS["siamese"](images, generator(0, "step", step))

    def plain(self, steps: int) -> Outcome:
        """Do an iteration the straightforward way."""
        started = time.perf_counter()
        found = match(self.model, self.begin, self.goal, self.images, self.labels, RATE, steps, self.augment)
        return Outcome(time.perf_counter() - started, found.loss, found.images, found.rate)

    def ours(self, steps: int, mode: InnerMode, *, exact: bool) -> Outcome:
        """Do an iteration as the distillers do."""
        if mode not in self._inner:
            self._inner[mode] = InnerGradient(self.model, mode=mode)
        images = self.images.clone().requires_grad_()
        started = time.perf_counter()
        unrolled = Unrolled(
            self._inner[mode],
            self.begin,
            RATE,
            lambda step: Batch(self.augment(images, step), self.labels),
            steps,
            exact=exact,
        )
        loss, direction = matching_loss(unrolled.end, self.goal, squared_distance(self.begin, self.goal, "it"))
        for gradient in unrolled.pull_back(direction):
            gradient.backward()
        assert images.grad is not None
        return Outcome(time.perf_counter() - started, loss, images.grad, unrolled.rate_gradient)

    def forms(self, steps: int) -> Mapping[str, Callable[[], Outcome]]:
        """Return every form of an iteration by name."""
        return {
            "plain": partial(self.plain, steps),
            "eager": partial(self.ours, steps, "eager", exact=True),
            "compiled": partial(self.ours, steps, "compiled", exact=True),
            "tesla": partial(self.ours, steps, "compiled", exact=False),
        }


def agreement(found: Outcome, plain: Outcome) -> dict[str, float]:
    """Return how far the gradients of one form are from those of another."""
    difference = (found.images - plain.images).norm() / plain.images.norm()
    cosine = torch.nn.functional.cosine_similarity(found.images.flatten(), plain.images.flatten(), dim=0)
    return {
        "loss_difference": abs(found.loss - plain.loss) / plain.loss,
        "image_gradient_difference": difference.item(),
        "image_gradient_cosine": cosine.item(),
        "rate_gradient_difference": abs(found.rate - plain.rate) / abs(plain.rate),
    }


def added_memory(form: str, steps: int, width: int) -> int:
    """Return how many bytes an iteration adds to the most memory that this process has used so far; all eagerly."""
    problem = Problem(width)
    forms: Mapping[str, Callable[[int], Outcome]] = {
        "plain": problem.plain,
        "exact": partial(problem.ours, mode="eager", exact=True),
        "tesla": partial(problem.ours, mode="eager", exact=False),
    }
    forms[form](1)  # what the first one needs is none of the iteration's own
    before = peak_memory(torch.device("cpu"))
    forms[form](steps)
    return peak_memory(torch.device("cpu")) - before


def main() -> None:
    """Measure and write the report."""
    options = timing_parser_of(__doc__, "trajectory_matching").parse_args()
    problem = Problem(WIDTH)
    one_step = {name: form() for name, form in problem.forms(1).items()}  # also the warm-up
    outcomes = interleaved(problem.forms(STEPS), options.repetitions)
    seconds = {name: [outcome.seconds for outcome in found] for name, found in outcomes.items()}
    report: dict[str, Any] = {
        "provenance": provenance("trajectory_matching", torch.device("cpu")),
        "goal": GOAL,
        "seconds": seconds,
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "faster_than_plain": {
            name: ratios(seconds["plain"], values) for name, values in seconds.items() if name != "plain"
        },
        "agreement": {
            name: {
                "after 1 step": agreement(one_step[name], one_step["plain"]),
                f"after {STEPS} steps": agreement(outcomes[name][0], outcomes["plain"][0]),
            }
            for name in seconds
            if name != "plain"
        },
        "added_memory_bytes": {
            form: {str(steps): alone(added_memory, form, steps, MEMORY_WIDTH) for steps in MEMORY_STEPS}
            for form in ("plain", "exact", "tesla")
        },
    }
    write_report(options.output, report)


if __name__ == "__main__":
    as_a_program(main)
