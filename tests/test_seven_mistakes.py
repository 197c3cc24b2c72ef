"""The seven mistakes of earlier distilled-pruning code, one test each.

Every test checks our code, then makes the mistake on purpose and shows that the same check notices.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core.data import ImageDataset, channel_statistics
from dp_core.data.preprocessing import ZCA, Standardisation
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from dp_core.models import check_forward
from dp_core.pruning import (
    CRITERIA,
    Examples,
    IterativePruning,
    Mask,
    PruningPlan,
    iterative,
    prunable_parameters,
)
from dp_core.training import Recipe, Training, TrainingData, evaluate
from search.comparison.config import ComparisonConfig
from search.comparison.preparation import prepare_comparison
from tests.dp_core.small import copy_of, random_data, same, small_model
from tests.search.tiny import write_images
from tests.trainables.driving import candidate, dataset, distilled_set, rows, screening, screening_context
from tests.trainables.laboratory.comparisons import (
    DENSE,
    DISTILLED,
    ROUND,
    Found,
    contents,
    find,
    laboratory,
    method,
    train,
    tune,
)
from trainables.laboratory import Laboratory, rounds, training
from trainables.laboratory.method import FINAL
from trainables.trials.shared_dataset import SharedDataset

REWIND_STEP = 2
RECIPE = Recipe(steps=5, batch_size=8, learning_rate=0.05, schedule="constant", precision="float32", mode="eager")
PLAN = PruningPlan((0.0, 0.3, 0.6), CRITERIA["magnitude"], RECIPE, REWIND_STEP)


def pruning(plan: PruningPlan = PLAN, seed: int = 7) -> IterativePruning:
    return IterativePruning(small_model(), random_data(), plan, seed=seed)


def run(process: IterativePruning) -> IterativePruning:
    while not process.finished:
        process.run_round()
    return process


@contextmanager
def mistaken(owner: object, name: str, mistake: object) -> Iterator[None]:
    """Make the mistake `mistake` in place of `owner.name`, and expect the block to notice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, mistake)
        with pytest.raises(AssertionError):
            yield


# 1. Rewinding restored weights only; biases and norm parameters kept their trained values.

Restore = Callable[[Training, Mapping[str, Any]], None]
RESTORE: Restore = Training.load_state_dict


def check_that_rounds_start_from_the_rewind_state() -> None:
    starts: list[dict[str, Any]] = []
    train_on = Training.run

    def noting(self: Training, steps: int | None = None) -> float:
        if self.step == REWIND_STEP:
            starts.append(self.state_dict())
        return train_on(self, steps)

    process = pruning()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", noting)
        run(process)
    rewound = starts[0]
    assert len(starts) == 3
    assert not same(rewound["model"], copy_of(small_model()))
    for start in starts[1:]:
        for name, value in start["model"].items():
            unpruned = value != 0 if name in process.mask else torch.ones_like(value, dtype=torch.bool)
            assert torch.equal(value[unpruned], rewound["model"][name][unpruned]), name
        assert same(start["optimizer"]["state"], rewound["optimizer"]["state"])
        assert start["step"] == REWIND_STEP


def restoring(chosen: Callable[[Training, str], bool]) -> Restore:
    """Return a way to rewind that leaves the tensors that are not `chosen` as they were trained."""

    def restore(self: Training, state: Mapping[str, Any]) -> None:
        now = self.state_dict()["model"]
        mixed = {name: (state["model"] if chosen(self, name) else now)[name] for name in now}
        RESTORE(self, {**state, "model": mixed})

    return restore


def with_a_fresh_optimiser(self: Training, state: Mapping[str, Any]) -> None:
    RESTORE(self, {**state, "optimizer": {**state["optimizer"], "state": {}}})


def test_mistake_1_rewinding_restores_everything_and_not_weights_only() -> None:
    check_that_rounds_start_from_the_rewind_state()
    for mistake in (
        restoring(lambda self, name: name in prunable_parameters(self.model)),  # the original one
        restoring(lambda self, name: name in dict(self.model.named_parameters())),  # without running statistics
        restoring(lambda self, name: not name.endswith("bias")),
        with_a_fresh_optimiser,
    ):
        with mistaken(Training, "load_state_dict", mistake):
            check_that_rounds_start_from_the_rewind_state()


# 2. Validating between rounds trained biases on real data that leaked into the next distilled round.

REAL = random_data(30, seed=5)


def check_that_validation_changes_nothing(validate: Callable[[nn.Module], object]) -> None:
    alone, validated = pruning(), pruning()
    for _ in PLAN.sparsities:
        loss = alone.run_round()
        assert validated.run_round() == loss
        before = copy_of(validated.model)
        validate(validated.model)
        assert same(copy_of(validated.model), before)
    assert same(validated.state_dict(), alone.state_dict())


def training_biases(model: nn.Module) -> None:
    biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
    F.cross_entropy(model(REAL.images), REAL.labels).backward()
    torch.optim.SGD(biases, 0.1).step()


def in_training_mode(model: nn.Module) -> None:
    model.train()(REAL.images)  # moves the running statistics of norms


def check_that_only_the_set_is_looked_at(folder: Path, source: str) -> None:
    """Search twice on one distilled set but different real images: every tensor found must be the same."""
    chosen = replace(DISTILLED, name=source, source=source, images_per_class=2 if source == "distilled" else None)
    found = []
    for seed in (1, 4):
        lab = laboratory(
            folder / f"{source}{seed}",
            [chosen],
            train=SharedDataset.of(dataset(16, seed)),
            validation=SharedDataset.of(dataset(4, 10 + seed)),
        )
        found.append(find(lab, source).tickets)
    for one, other in zip(found[0].values(), found[1].values(), strict=True):
        assert same(dict(one.mask), dict(other.mask))
        assert same(dict(one.weights), dict(other.weights))


def test_mistake_2_validation_between_rounds_changes_nothing_and_leaks_nothing(tmp_path: Path) -> None:
    check_that_validation_changes_nothing(lambda model: evaluate(model, REAL))
    for mistake in (training_biases, in_training_mode):
        with pytest.raises(AssertionError):
            check_that_validation_changes_nothing(mistake)

    check_that_only_the_set_is_looked_at(tmp_path, "distilled")
    with pytest.raises(AssertionError):
        check_that_only_the_set_is_looked_at(tmp_path, "real")


# 3. A learning-rate argument was accepted and ignored.


def check_that_the_learning_rate_is_used() -> None:
    """One step of plain SGD a round: ten times the rate must move biases ten times as far, in every round."""

    def moves(rate: float) -> list[Tensor]:
        recipe = replace(RECIPE, learning_rate=rate, steps=1, momentum=0.0, weight_decay=0.0)
        process, found = pruning(replace(PLAN, recipe=recipe, rewind_step=0, criterion=CRITERIA["random"])), []
        while not process.finished:
            process.run_round()
            found.append(copy_of(process.model)["classifier.bias"] - process.rewind_weights["classifier.bias"])
        return found

    for fast, slow in zip(moves(0.5), moves(0.05), strict=True):
        assert slow.abs().min() > 0
        assert torch.allclose(fast, 10 * slow, rtol=1e-4, atol=1e-6)


def check_that_the_tuned_rate_is_used(folder: Path) -> None:
    """Of a good and a useless rate the good one is chosen, and the tickets are those of a method that has only it."""
    recipe = replace(ROUND, steps=6, learning_rate=1e-9)
    several = method("several", recipe=recipe, learning_rates=(1e-9, 0.1), rewind_step=1)
    single = method("single", recipe=replace(recipe, learning_rate=0.1), learning_rates=(0.1,), rewind_step=1)
    lab = laboratory(folder, [several, single])
    assert tune(lab, "several")["learning_rate"] == 0.1
    found, expected = find(lab, "several"), find(lab, "single")
    assert found.result["learning_rate"] == 0.1
    for one, other in zip(found.tickets.values(), expected.tickets.values(), strict=True):
        assert same([dict(one.mask), dict(one.weights)], [dict(other.mask), dict(other.weights)])


def check_that_the_final_rate_is_used(folder: Path) -> None:
    """Of a good and a useless rate of the final training the good one is chosen, and is the one that is trained at."""
    results = []
    for rates in ((1e-9, 0.1), (0.1,)):
        lab = laboratory(folder / str(len(rates)), [DENSE], recipe=recipe_at(rates[0]), learning_rates=rates)
        if len(rates) > 1:
            assert tune(lab, FINAL)["learning_rate"] == 0.1
        find(lab, "dense")
        results.append(train(lab, "dense", 0.0)["test_loss"])
    assert results[0] == results[1]


def recipe_at(rate: float) -> Recipe:
    return replace(ROUND, steps=12, learning_rate=rate)


def test_mistake_3_the_learning_rate_is_used(tmp_path: Path) -> None:
    check_that_the_learning_rate_is_used()
    with mistaken(Recipe, "learning_rate_at", lambda self, step, total: 0.01):
        check_that_the_learning_rate_is_used()

    def untuned(lab: Laboratory, network: str, name: str) -> Recipe:
        return lab.methods[network][name].round_recipe

    check_that_the_tuned_rate_is_used(tmp_path / "ours")
    with mistaken(rounds, "tuned", untuned):
        check_that_the_tuned_rate_is_used(tmp_path / "mistaken")

    check_that_the_final_rate_is_used(tmp_path / "our final one")
    with mistaken(training, "final_recipe", lambda lab, network, method: lab.recipe):
        check_that_the_final_rate_is_used(tmp_path / "mistaken final one")


# 4. The distilled set lived in ZCA space while retraining and evaluation used mean/std.


def tinted(per_class: int, seed: int) -> ImageDataset:
    """Return images of very different brightness and nearly no colour; the class is which channel is a shade brighter.

    Whitening brings the colour out. In standardised images it is drowned by brightness.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(3 * per_class) % 3
    brightness = torch.randint(0, 180, (len(labels), 1, 1, 1), generator=draw)
    images = brightness + torch.randint(0, 2, (len(labels), 3, 8, 8), generator=draw)
    images[torch.arange(len(labels)), labels] += 6
    return ImageDataset(images.to(torch.uint8), labels, ("red", "green", "blue"), f"{seed:064x}")


def check_that_a_whitened_set_is_scored_in_its_own_space(folder: Path) -> None:
    real, pixels = tinted(100, 1), tinted(10, 2).images.float() / 255
    zca, statistics = ZCA.fit(real.images.float() / 255, eps=3e-4), channel_statistics(real)
    made = replace(distilled_set(10, zca), images=zca(pixels), labels=tinted(10, 2).labels)
    made.save(folder / "set.safetensors")
    recipe = replace(ROUND, steps=40, batch_size=30, schedule="cosine")
    lab = laboratory(
        folder,
        [replace(DISTILLED, images_per_class=10, recipe=recipe)],
        train=SharedDataset.of(real),
        validation=SharedDataset.of(tinted(40, 3)),
        space=Standardisation(statistics.mean, statistics.std),
        sets={"distilled-10": DistilledSet.load(folder / "set.safetensors")},
        round_images=None,
    )
    accuracies = [row["validation_accuracy"] for row in find(lab, "distilled").result["rounds"]]
    assert sum(accuracies) / len(accuracies) > 0.85  # 0.95; in the wrong space 0.60


def test_mistake_4_a_set_is_used_in_its_own_space_and_not_without_it(tmp_path: Path) -> None:
    check_that_a_whitened_set_is_scored_in_its_own_space(tmp_path / "ours")
    data = Laboratory.data
    with mistaken(Laboratory, "data", lambda self, *given: (data(self, *given)[0], self.space)):
        check_that_a_whitened_set_is_scored_in_its_own_space(tmp_path / "mistaken")

    one = distilled_set()
    parts = {key: value for key, value in vars(one).items() if key != "preprocessing"}
    with pytest.raises(TypeError, match="preprocessing"):
        DistilledSet(**parts)
    with pytest.raises(UserError, match="The preprocessing of a distilled set is for 5 values, its images have 3"):
        replace(one, preprocessing=Standardisation((0.5,) * 5, (0.2,) * 5))
    raw = dataset(2, 0)
    with pytest.raises(UserError, match="Images in uint8 need a preprocessing"):
        TrainingData(raw.images, raw.labels)
    with pytest.raises(UserError, match=r"takes float images in \[0, 1\], not torch\.uint8"):
        one.preprocess(raw.images)


# 5. Seeds came from the clock in one place, so runs did not reproduce.


def digest_of_a_search() -> str:
    """Return a digest of all that a pruning with augmentation and random masks comes to."""
    recipe = replace(RECIPE, augmentation="siamese")
    state = run(pruning(replace(PLAN, recipe=recipe, criterion=CRITERIA["random"]))).state_dict()
    tensors = itertools.chain(state["model"].values(), state["mask"].values())
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


@contextmanager
def another_time(seed: int) -> Iterator[None]:
    """Set clocks and global generators to something else."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        for clock, factor in (("time", 1), ("monotonic", 1), ("perf_counter", 1), ("time_ns", 10**9)):
            moved = itertools.count(10**9 * seed * factor, factor)
            patch.setattr(time, clock, lambda moved=moved: next(moved))
        torch.manual_seed(seed)
        random.seed(seed)
        yield


def check_that_time_decides_nothing(folder: Path) -> None:
    found, names = [], ("distilled", "subset", "random")
    methods = (
        replace(DISTILLED, recipe=replace(ROUND, augmentation="siamese")),
        method("subset", source="subset", images_per_class=2),
        replace(DENSE, name="random", kind="at_initialisation", criterion="random", sparsities=(0.5, 0.9)),
    )
    for seed in (1, 2):
        with another_time(seed):
            lab = laboratory(folder / str(seed), methods)
            for name in names:
                find(lab, name)
            train(lab, "distilled", 0.75)
            found.append(contents(lab.folder))
    assert len(found[0]) > 2 * len(names)
    repeated = same(found[0], found[1])  # not in the assertion, which would write both out
    assert repeated


def test_mistake_5_no_seed_comes_from_the_clock(tmp_path: Path) -> None:
    # Another process, at another time and with other hashes; it works while this one does.
    code = "from tests.test_seven_mistakes import digest_of_a_search as found; print(found())"
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=environment, stdout=subprocess.PIPE, text=True
    ) as other:
        check_that_time_decides_nothing(tmp_path / "ours")
        places: list[tuple[object, str]] = [(Laboratory, "cell_seed")]
        places += [(module, "derive_seed") for module in (iterative, rounds, training)]
        for number, (owner, name) in enumerate(places):
            with mistaken(owner, name, lambda *_: time.time_ns() % 2**31):
                check_that_time_decides_nothing(tmp_path / f"mistaken {number}")
        printed, _ = other.communicate()
    assert printed.split()[-1:] == [digest_of_a_search()]


# 6. Wrong number of classes in one experiment went unnoticed.


def check_that_other_classes_are_refused(folder: Path) -> None:
    """Prepare a study of three classes with a set of four, and of three of other names."""
    images = write_images(folder / "images")
    for names in (("red", "green", "blue", "grey"), ("red", "blue", "green")):
        pixels, labels = torch.rand(len(names), 3, 8, 8), torch.arange(len(names))
        space = Standardisation((0.5,) * 3, (0.2,) * 3)
        DistilledSet(pixels, labels, space, names, 1, None, {}).save(folder / "mine.safetensors")
        config = ComparisonConfig.model_validate(
            {
                "run": {"name": "classes"},
                "data": {"root": images, "cache": folder / "cache", "validation": 0.2},
                "sets": {"mine": folder / "mine.safetensors"},
                "models": {"tiny": {"name": "convnet", "depth": 1, "width": 4}},
                "sparsities": (0.5,),
                "methods": {"mine": {"source": "mine", "steps": 2, "learning_rate": 0.1}},
            }
        )
        try:
            prepare_comparison(config, "classes.yaml", local=False)
        except UserError as error:
            assert f"'sets.mine': The distilled set has {len(names)} classes" in str(error)  # noqa: PT017
        else:
            raise AssertionError("a set of other classes was taken")


def test_mistake_6_a_wrong_number_of_classes_is_refused(tmp_path: Path) -> None:
    check_that_other_classes_are_refused(tmp_path)
    with mistaken(DistilledSet, "check_fits", lambda self, image_shape, class_names: None):
        check_that_other_classes_are_refused(tmp_path)

    one = distilled_set()
    for labels, message in (
        (one.labels + 1, "images of each of its 3 classes; its labels are not that"),
        (torch.full((6, 4), 0.25), "of 3 classes has soft labels of 4"),
    ):
        with pytest.raises(UserError, match=message):
            replace(one, labels=labels)
    with pytest.raises(ValueError, match="labels span 0 to 2, but there are 2 class names"):
        replace(dataset(2, 0), class_names=("red", "green"))

    ten = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    check_forward(ten, "ten", (3, 8, 8), 10)
    with pytest.raises(UserError, match=r"'ten' returns \[2, 10\] for 2 images of 3×8×8, not \[2, 3\]"):
        check_forward(ten, "ten", (3, 8, 8), 3)
    beyond = TrainingData(random_data().images, torch.arange(20) % 4)
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        Training(small_model(), beyond, RECIPE, seed=0, mask=None).run(1)


# 7. Layer collapse (accuracy exactly at chance) ran to the end.


class LastLayerFirst:
    """A criterion that takes everything from the last layer before it takes anything from the others."""

    image_gradients = 0

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        kept, left = {}, round(sparsity * mask.total)
        for name in reversed(list(mask)):
            kept[name] = (torch.arange(mask[name].numel()) >= left).view(mask[name].shape)
            left = max(0, left - mask[name].numel())
        return Mask({name: kept[name] for name in mask})


CONSTANT = {"name": "tests.trainables.networks:constant"}


def check_that_collapse_ends_a_search(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CRITERIA._places, "last_layer_first", "nowhere:nothing")
        patch.setitem(CRITERIA._found, "last_layer_first", LastLayerFirst())
        found = find(laboratory(folder, [method("imp", criterion="last_layer_first")]), "imp")
    assert found.result["status"] == "collapsed"
    assert found.result["reason"] == "layer collapse: no weight left in classifier.weight"
    assert list(found.tickets) == [0.5]  # at 0.75 of 300 weights the classifier's 192 are gone


def check_that_chance_ends_a_search(folder: Path) -> None:
    found: Found = find(laboratory(folder, [method("imp")], network=CONSTANT), "imp")
    assert (found.result["status"], len(found.result["rounds"])) == ("collapsed", 2)  # of three rounds
    assert "no better than chance" in found.result["reason"]


def check_that_chance_ends_a_training(folder: Path) -> None:
    lab = laboratory(folder, [DENSE], network=CONSTANT)
    find(lab, "dense")
    found = train(lab, "dense", 0.0)
    assert found["status"] == "collapsed"
    assert found["train_image_gradients"] == 7 * 16  # three quarters of nine steps of 16 images
    assert found["test_accuracy"] == pytest.approx(1 / 3)  # an honest figure all the same


def test_mistake_7_collapse_is_noticed_and_ends_the_work(tmp_path: Path) -> None:
    cases: list[tuple[object, str, object, Callable[[Path], None]]] = [
        (Mask, "empty_layers", lambda mask: [], check_that_collapse_ends_a_search),
        (rounds, "at_chance", lambda found, level: False, check_that_chance_ends_a_search),
        (training, "at_chance", lambda found, level: False, check_that_chance_ends_a_training),
    ]
    for owner, name, mistake, check in cases:
        check(tmp_path / check.__name__)
        with mistaken(owner, name, mistake):
            check(tmp_path / f"mistaken {check.__name__}")

    trial = list(rows(screening(screening_context(), candidate(model=CONSTANT))))
    assert [row["status"] for row in trial] == ["running", "collapsed"]  # of four rounds
    live = find(laboratory(tmp_path / "live", [method("imp", recipe=replace(ROUND, steps=20))]), "imp")
    assert live.result["status"] == "finished"
