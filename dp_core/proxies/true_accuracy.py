"""The trainings that proxies are judged by, done."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from dp_core.data import ImageDataset
from dp_core.judging import divergence_of, judge
from dp_core.proxies.base import ProxyInputs, Stopwatch
from dp_core.proxies.truth import RealTraining
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Training, TrainingData


def true_accuracy(planned: RealTraining, inputs: ProxyInputs, test: ImageDataset | None) -> dict[str, Any]:
    """Train an architecture on the real training images as `planned`, and evaluate it.

    Args:
        planned: the training.
        inputs: training and validation images.
        test: test images; looked at only if the network is to be `tested`, and else may be None.

    Returns:
        `validation_accuracy`, `test_accuracy` (None if not `tested`), both in [0, 1]; `seconds`, `processor_seconds`
        and `image_gradients` that it took; `status`, "finished" or "diverged". A training that diverges, or leaves a
        network whose outputs are not finite, has the accuracy of chance.

    Raises:
        UserError: the architecture cannot be built.
        ValueError: there are no test images for a network that is to be `tested`.
    """
    if planned.tested and test is None:
        raise ValueError("A tested training needs test images.")
    watch = Stopwatch(inputs.device)
    model = inputs.network(planned.spec, derive_seed(planned.seed, "truth"))
    training = Training(model, inputs.real, planned.recipe, seed=planned.seed, mask=None)
    accuracies: dict[str, float | None] = {"validation": None, "test": None}
    wanted = {"validation": inputs.held_back(inputs.preprocessing)}
    if planned.tested and test is not None:
        wanted["test"] = TrainingData(test.images, test.labels, inputs.preprocessing).to(inputs.device)
    calibration = inputs.calibration(inputs.preprocessing)
    with suppress(Diverged):
        training.run()
        found = {name: judge(model, data, calibration, planned.recipe) for name, data in wanted.items()}
        if not any(map(divergence_of, found.values())):
            accuracies |= {name: each.accuracy for name, each in found.items()}
    diverged = accuracies["validation"] is None
    if diverged:
        accuracies |= dict.fromkeys(wanted, 1 / inputs.classes)
    seconds, processor_seconds = watch.read()
    return {
        "status": "diverged" if diverged else "finished",
        "validation_accuracy": accuracies["validation"],
        "test_accuracy": accuracies["test"],
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "image_gradients": training.image_gradients,
    }
