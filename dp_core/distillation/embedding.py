"""Where a network puts images, and distilled sets of the real images that are chosen by that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation.base import HERE, Workspace, pixels, provenance, standardisation_of
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.teacher import teacher_gradients, train_teacher, untrained
from dp_core.errors import UserError

# Maps the embeddings of a class, float [n, features], and a count of 1 to n to the places of as many images in
# 0 to n - 1, all different, in the order in which they were chosen; int64 [count].
Selection = Callable[[Tensor, int], Tensor]

_BATCH = 250  # images embedded at once


def embed(model: nn.Module, images: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Return the input of the model's last linear layer for `images`, flattened to [N, features].

    Args:
        model: a network.
        images: float [N, C, H, W], in the network's space.
        through: executes the model, such as a `Network` made of it; None calls the model.

    Raises:
        UserError: the model has no linear layer, or does not go through it.
    """
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    seen: list[Tensor] = []
    hooks = [linear.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0])) for linear in linears[-1:]]
    try:
        (through or model)(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise UserError(f"The model {type(model).__name__} has no linear layer whose input could serve as embedding.")
    return seen[-1].flatten(1)


def check_embedding(source: ImageDataset, model: Mapping[str, Any]) -> None:
    """Raise UserError unless `model` (name and hyperparameters) can be built and embeds the images of `source`."""
    network = untrained(source, model, seed=0).eval()
    with torch.no_grad():
        embed(network, torch.zeros(1, *source.image_shape))


def embed_images(model: nn.Module, source: ImageDataset, space: Preprocessing, indices: Tensor) -> Tensor:
    """Return the embeddings of the images at `indices` (int64 [n]), without gradients, batch by batch.

    The model, on whatever device it is, is used in the mode that it is in.

    Returns:
        float32 [n, features], on the CPU.

    Raises:
        UserError: the model has no embedding (see `embed`), or its values are not finite.
    """
    device = next(model.parameters()).device
    with torch.no_grad():
        batches = [embed(model, space(pixels(source, part).to(device))).float().cpu() for part in indices.split(_BATCH)]
    embedded = torch.cat(batches)
    if not torch.isfinite(embedded).all():
        raise UserError(f"The model {type(model).__name__} embeds some images in values that are not finite.")
    return embedded


def selected_set(
    select: Selection,
    settings: Mapping[str, Any],
    source: ImageDataset,
    images_per_class: int,
    seed: int,
    workspace: Workspace = HERE,
) -> DistilledSet:
    """Make a distilled set of the real images that `select` chooses, class by class, by a network's embeddings.

    Args:
        select: chooses among the images of a class.
        settings: a distiller's, with `model` (name and hyperparameters of the network) and the `steps` for which it is
            trained on `source` (0 for none) among them.
        source: training images.
        images_per_class: ipc, in the range that Distiller names.
        seed: of the network.
        workspace: where to tell how far it is.

    Returns:
        The set; its provenance has the chosen `indices` of `source`, in the order of the set, and as cost the
        image-gradients of the network's training.
    """
    started = time.perf_counter()
    space, steps = standardisation_of(source), settings["steps"]
    total = steps + source.classes
    if steps:
        workspace.say(f"Training the network that embeds the images for {steps} steps.")
    network = train_teacher(
        source, space, settings["model"], steps, seed, lambda done, _, loss: workspace.progress(done, total, loss)
    )
    chosen = []
    for label in range(source.classes):
        members = source.class_indices(label)
        chosen.append(members[select(embed_images(network, source, space, members), images_per_class)])
        workspace.progress(steps + label + 1, total, 0.0)
    indices = torch.cat(chosen)
    seconds, gradients = time.perf_counter() - started, teacher_gradients(source, steps)
    made = provenance(dict(settings), source, seed, seconds=seconds, image_gradients=gradients)
    return DistilledSet(
        images=space(pixels(source, indices)),
        labels=source.labels[indices],
        preprocessing=space,
        class_names=source.class_names,
        images_per_class=images_per_class,
        learning_rate=None,
        provenance={**made, "indices": indices.tolist()},
    )
