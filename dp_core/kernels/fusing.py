"""A model in which runs of convolution, norm, activation and pooling are one operation each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dp_core.kernels.block import BlockSettings, Convolution, Norm, Pool, block
from dp_core.kernels.build import block_library
from dp_core.kernels.formats import FORMAT_KEEPING, Chain, is_altered, takes_any_format
from dp_core.kernels.pointwise import skips_pixels, without_skipping

_Item = Callable[[Tensor], Tensor]  # what a Sequential runs: a layer, a block, a chain of them


def fused(model: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """Return `model` with fused blocks that compute in `dtype` (float32 or bfloat16), around the same parameters.

    Blocks are found in plain `nn.Sequential`s, however deep inside the model: [convolution] [norm] [activation]
    [2×2 pooling] in this order, at least two of them, of the kinds that `_Run.take` accepts. The result is a copy of
    the module tree that shares parameters and buffers; it has a training mode of its own. For networks on a CPU.

    Blocks compute in channels-last memory. Where others than they and torch's usual layers see what they hand on (see
    `takes_any_format`), it is put into the format that torch would give it, and the weights are best left in theirs.

    Returns None where there is nothing to fuse, where the kernels are not to be had, where parameters are not float32,
    or where a module of the user's cannot be copied around its parameters. What else a module keeps (attributes that
    are no parameters or buffers) is copied: changes to it after this do not reach the other one, but see `Twins`.
    """
    if block_library() is None or any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        return None
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    try:
        copied = copy.deepcopy(model, dict(shared))
    except Exception:  # whatever a user's module may raise
        return None
    if any(id(tensor) not in shared for tensor in [*copied.parameters(), *copied.buffers()]):
        return None
    modules, copies = list(model.modules()), list(copied.modules())
    if len(modules) != len(copies) or not set(modules).isdisjoint(copies):  # one that returns itself as its copy
        return None
    sequentials = [module for module in copied.modules() if type(module) is nn.Sequential]
    seen = not takes_any_format(model)
    changed = [_fuse(sequential, dtype, seen=seen) for sequential in sequentials]
    without_skipping(copied)
    return copied if any(changed) else None


def unfused_norms(model: nn.Module) -> int:
    """Return how many group and layer norms of `model` are not part of a fused block."""
    sequentials = [module for module in model.modules() if isinstance(module, _FusedSequential)]
    inside = {id(block.norm) for module in sequentials for block in module.blocks}
    norms = (module for module in model.modules() if isinstance(module, nn.GroupNorm | nn.LayerNorm))
    return sum(id(norm) not in inside for norm in norms)


class _FusedSequential(nn.Sequential):
    """A Sequential whose children are what they were, but which runs `fused_items` instead when called as a whole.

    Without them it is a plain one, such as torch makes of `self.__class__` when a slice of it is taken.
    """

    fused_items: Sequence[_Item] | None = None

    @property
    def blocks(self) -> list[_FusedBlock]:
        """The fused blocks among its items."""
        every = [
            part for item in self.fused_items or () for part in (item.items if isinstance(item, Chain) else [item])
        ]
        return [part for part in every if isinstance(part, _FusedBlock)]

    def forward(self, images: Tensor) -> Tensor:
        for item in self if self.fused_items is None else self.fused_items:
            images = item(images)
        return images


def _fuse(sequential: nn.Sequential, dtype: torch.dtype, *, seen: bool) -> bool:
    """Turn `sequential` into a _FusedSequential if two of its children at least can be one.

    `seen` says whether others see the format of what its blocks hand on.
    """
    items: list[_Item] = []
    run = _Run()
    for child in [*sequential, None]:
        if child is not None and run.take(child):
            continue
        items += [_FusedBlock(run, dtype)] if run.worthwhile else run.modules
        run = _Run()
        if child is not None and not run.take(child):
            items.append(child)
    if not any(isinstance(item, _FusedBlock) for item in items):
        return False
    sequential.__class__ = _FusedSequential
    vars(sequential)["fused_items"] = tuple(_chained(items, dtype) if seen else items)  # whatever its children's names
    return True


def _chained(items: Sequence[_Item], dtype: torch.dtype) -> list[_Item]:
    """Return the items with chains in place of blocks: from one to the next, with what keeps the format in between."""
    chained: list[_Item] = []
    waiting: list[_Item] = []  # from a block on
    end = 0  # of the last block among them

    def close() -> None:
        if waiting:
            chained.append(Chain(waiting[:end], _convolution_weights(waiting[:end]), dtype))
            chained.extend(waiting[end:])
            waiting.clear()

    for item in items:
        if isinstance(item, _FusedBlock):
            waiting.append(item)
            end = len(waiting)
        elif waiting and type(item) in FORMAT_KEEPING and not is_altered(item):  # type: ignore[arg-type]
            waiting.append(item)
        else:
            close()
            chained.append(item)
    close()
    return chained


def _convolution_weights(items: Sequence[_Item]) -> list[Tensor]:
    convolutions = (item.convolution if isinstance(item, _FusedBlock) else item for item in items)
    return [found.weight for found in convolutions if isinstance(found, nn.Conv2d)]


class _Run:
    """Modules that follow each other and make up one block."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []
        self.convolution: nn.Conv2d | None = None
        self.norm: nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm | None = None
        self.slope: float | None = None
        self.sigmoid = False
        self.pool = Pool.WHOLE

    @property
    def worthwhile(self) -> bool:
        """Whether there is more than one operation to be fused."""
        return sum(type(module) is not nn.Identity for module in self.modules) >= 2

    @property
    def _empty(self) -> bool:
        return all(type(module) is nn.Identity for module in self.modules)

    @property
    def settings(self) -> BlockSettings:
        """The block's settings, but for the kind of norm, which may change with the training mode."""
        how, norm = self.convolution, self.norm
        return BlockSettings(
            None if how is None else _geometry(how),
            groups=norm.num_groups if isinstance(norm, nn.GroupNorm) else 1,
            eps=0.0 if norm is None else norm.eps,
            slope=1.0 if self.slope is None else self.slope,
            sigmoid=self.sigmoid,
            pool=self.pool,
        )

    def take(self, module: nn.Module) -> bool:
        """Add `module` if it may come next and is of a kind that the kernels know; return whether it was added."""
        taken = not is_altered(module) and self._take(module)
        if taken:
            self.modules.append(module)
        return taken

    def _take(self, module: nn.Module) -> bool:
        pooled = self.pool is not Pool.WHOLE
        active = self.slope is not None or self.sigmoid
        kind = type(module)
        if kind is nn.Identity:
            return True
        if isinstance(module, nn.Conv2d) and kind is nn.Conv2d:
            fits = self._empty and _plain(module)
            self.convolution = module if fits else self.convolution
            return fits
        if isinstance(module, nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm):
            fits = self.norm is None and not active and not pooled and _known(module)
            self.norm = module if fits else self.norm
            return fits
        if pooled:
            return False
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and _halves(module):
            self.pool = Pool.MAX if isinstance(module, nn.MaxPool2d) else Pool.AVERAGE
            return True
        if active or (self._empty and getattr(module, "inplace", False)):  # which would change the input
            return False
        if kind is nn.Sigmoid:
            self.sigmoid = True
        elif kind is nn.ReLU:
            self.slope = 0.0
        elif isinstance(module, nn.LeakyReLU) and kind is nn.LeakyReLU and 0 <= module.negative_slope <= 1:
            self.slope = float(module.negative_slope)
        else:
            return False
        return True


def _plain(convolution: nn.Conv2d) -> bool:
    """Whether torch.conv2d with the convolution's own numbers is all that it does."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


def _geometry(convolution: nn.Conv2d) -> Convolution:
    assert not isinstance(convolution.padding, str)
    stride, every = convolution.stride, (1, 1)
    if skips_pixels(convolution):
        stride, every = every, stride
    return Convolution(stride, convolution.padding, convolution.dilation, convolution.groups, every)


def _known(norm: nn.Module) -> bool:
    if isinstance(norm, nn.LayerNorm) and type(norm) is nn.LayerNorm:
        return len(norm.normalized_shape) == 3 and norm.elementwise_affine  # the weight says whether the shape is right
    return type(norm) in (nn.GroupNorm, nn.BatchNorm2d)


def _halves(pooling: nn.MaxPool2d | nn.AvgPool2d) -> bool:
    plain = all(
        value in (wanted, (wanted, wanted), [wanted, wanted])
        for value, wanted in ((pooling.kernel_size, 2), (pooling.stride, 2), (pooling.padding, 0))
    )
    plain = plain and not pooling.ceil_mode
    if type(pooling) is nn.MaxPool2d:
        return plain and pooling.dilation in (1, (1, 1), [1, 1]) and not pooling.return_indices
    return plain and type(pooling) is nn.AvgPool2d and pooling.divisor_override is None


class _FusedBlock:
    """Calls the kernels with the parameters of the modules it stands for."""

    def __init__(self, run: _Run, dtype: torch.dtype) -> None:
        self.norm = run.norm
        self._modules = tuple(run.modules)
        self.convolution = run.convolution
        self._dtype = dtype
        self._settings = run.settings

    def __call__(self, images: Tensor) -> Tensor:
        kind = self._kind()
        if images.dim() != 4 or not images.is_cpu:
            for module in self._modules:
                images = module(images)
            return images
        norm, convolution = self.norm, self.convolution
        output, statistics = block(
            images.to(self._dtype, memory_format=torch.channels_last),
            None if convolution is None else convolution.weight,
            None if convolution is None else convolution.bias,
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
            (norm.running_mean, norm.running_var) if kind is Norm.FIXED else None,  # type: ignore[union-attr, arg-type]
            replace(self._settings, norm=kind),
        )
        if isinstance(norm, nn.BatchNorm2d) and statistics is not None:
            _update_running(norm, statistics)
        return output

    def _kind(self) -> Norm:
        norm = self.norm
        if norm is None:
            return Norm.NONE
        if isinstance(norm, nn.GroupNorm):
            return Norm.GROUPS
        if isinstance(norm, nn.LayerNorm):
            return Norm.ELEMENTWISE
        return Norm.BATCH if norm.training or norm.running_mean is None else Norm.FIXED


def _update_running(norm: nn.BatchNorm2d, statistics: Tensor) -> None:
    """Do to the running mean and variance what torch's own batch norm does."""
    if not norm.training or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    # By `data`, as torch's own change does not count either where autograd looks for changes of what it has saved.
    norm.running_mean.data.lerp_(statistics[0], share)
    norm.running_var.data.lerp_(statistics[1], share)
