"""How good a distilled set is for what Winnow does with it; from here, all measures.

few_steps         what networks learn from it in 10, 30 or 100 steps
mask_quality      what the tickets are worth that are found on it in few steps
mask_agreement    whether it finds the weights that real data find
feature_distance  whether its images are, to a trained network, like real ones

Each comes with what to read it against: real images at equal ipc, real data at equal cost, or chance. They look at
validation images, never at test images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledSet
from dp_core.distillation.embedding import check_embedding
from dp_core.distillation.judging import judging_recipe
from dp_core.distillation.teacher import train_teacher
from dp_core.models import ModelSpec
from dp_core.quality.feature_distance import FeatureDistance, feature_distance, frechet_distance, in_space_of
from dp_core.quality.few_steps import few_steps
from dp_core.quality.mask_agreement import MaskAgreement, mask_agreement, mask_overlap
from dp_core.quality.mask_quality import TicketTrial, mask_quality

__all__ = [
    "FeatureDistance",
    "MaskAgreement",
    "QualityPlan",
    "TicketTrial",
    "distilled_quality",
    "feature_distance",
    "few_steps",
    "frechet_distance",
    "in_space_of",
    "mask_agreement",
    "mask_overlap",
    "mask_quality",
]


@dataclass(frozen=True)
class QualityPlan:
    """How much the measures may cost.

    Args:
        model: the network of all measures, one with a linear layer.
        steps: of the trainings on a set: all of them for `few_steps` and `mask_quality`, the longest for
            `mask_agreement`.
        trial: what `mask_quality` does with masks; its steps are these, its sparsity is also that of `mask_agreement`,
            and its retraining is what `mask_agreement` trains on real data.
        teacher_steps: of 128 real images that the network of `feature_distance` is trained for.
        seed: of everything.
    """

    model: ModelSpec = field(default_factory=lambda: ModelSpec("convnet", {"depth": 3, "width": 64}))
    steps: tuple[int, ...] = (10, 30, 100)
    trial: TicketTrial = field(default_factory=TicketTrial)
    teacher_steps: int = 500
    seed: int = 0

    def check(self, train: ImageDataset) -> None:
        """Raise UserError if the network cannot be built for such images or embeds none; costs next to nothing."""
        check_embedding(train, self.model.to_dict())


def distilled_quality(
    distilled: DistilledSet,
    train: ImageDataset,
    validation: ImageDataset,
    plan: QualityPlan,
    *,
    controls: Mapping[str, DistilledSet],
    tell: Callable[[str], None] = lambda sentence: None,
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all measures by the measure's name.

    Args:
        distilled: the set.
        train: real images.
        validation: real images held back from them.
        plan: what is done.
        controls: standardised sets of real images at equal ipc, by name.
        tell: is told what is done next.

    Raises:
        UserError: the set is not for such images, or the network does not fit them or diverges.
    """
    plan.check(train)
    trial, seeds = replace(plan.trial, steps=plan.steps), (plan.seed,)
    specs = [plan.model]
    return {
        "few_steps": few_steps(
            distilled, train, validation, specs, controls=controls, steps=plan.steps, seeds=seeds, tell=tell
        ),
        "mask_quality": mask_quality(
            distilled, train, validation, plan.model, trial, controls=controls, seeds=seeds, tell=tell
        ),
        **_against_real_data(distilled, train, plan, controls, tell),
    }


def _against_real_data(
    distilled: DistilledSet,
    train: ImageDataset,
    plan: QualityPlan,
    controls: Mapping[str, DistilledSet],
    tell: Callable[[str], None],
) -> dict[str, list[dict[str, Any]]]:
    """Measure mask agreement and feature distance, of the controls too, all in the set's space."""
    sets = {"distilled": distilled, **{name: in_space_of(control, distilled) for name, control in controls.items()}}
    tell("the network whose features are compared")
    teacher = train_teacher(train, distilled.preprocessing, plan.model.to_dict(), plan.teacher_steps, plan.seed)
    agreements, distances = [], []
    for source, each in sets.items():
        tell(f"{source}, mask and features")
        found = mask_agreement(
            each,
            train,
            plan.model,
            sparsity=plan.trial.sparsity,
            recipe_set=judging_recipe(replace(each, learning_rate=None), max(plan.steps)),
            recipe_real=plan.trial.retraining,
            seed=plan.seed,
        )
        agreement = {**asdict(found), "above_chance": found.above_chance, "sparsity": plan.trial.sparsity}
        agreements.append({"source": source, **agreement})
        distances.append({"source": source, **asdict(feature_distance(each, train, teacher))})
    return {"mask_agreement": agreements, "feature_distance": distances}
