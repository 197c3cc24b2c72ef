"""A small vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.models.limits import require_whole

_EPS = 1e-6  # of the norms, as in the paper's code


class Attention(nn.Module):
    """Self-attention of several heads, of linear layers whose weights can be pruned."""

    any_memory_format = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T, width] to as many."""
        by_head = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))  # [N, T, 3, heads, width / heads]
        query, key, value = by_head.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.projection(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class EncoderBlock(nn.Module):
    """Attention, then a perceptron of one hidden layer, each behind a norm and beside an identity (pre-norm)."""

    any_memory_format = True

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width, eps=_EPS), Attention(width, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width, eps=_EPS), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T, width] to as many."""
        tokens = tokens + self.attention(tokens)
        return tokens + self.mlp(tokens)  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """Patches and a class token with learned positions, encoder blocks, a norm, and one linear layer."""

    any_memory_format = True

    def __init__(self, embedding: nn.Conv2d, patches: int, blocks: nn.Sequential, classes: int) -> None:
        super().__init__()
        width = embedding.out_channels
        self.embedding = embedding
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + patches, width))
        self.blocks = blocks
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.classifier = nn.Linear(width, classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        patches = self.embedding(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1) + self.positions
        return self.classifier(self.norm(self.blocks(tokens)[:, 0]))  # type: ignore[no-any-return]

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.positions, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)


def vit(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    depth: int = 6,
    width: int = 256,
    heads: int = 4,
    patch: int = 4,
    mlp_ratio: float = 2,
) -> nn.Module:
    """Build a vision transformer; the defaults are the sizes of ViT-Lite-6/4, made for CIFAR (arXiv 2104.05704).

    Pre-norm, learned positions, logits from a class token, no dropout; on CIFAR-10 it has 3,195,146 parameters.
    Linear weights and positions are drawn from a normal distribution of deviation 0.02 cut off at ±2 (as in DeiT,
    arXiv 2012.12877), the patches' convolution is torch's. Prunable are that convolution and the linear layers.

    Args:
        input_shape: channels, height, width; the patch must divide both sides.
        classes: number of logits.
        depth: encoder blocks.
        width: numbers a token has.
        heads: attention heads, which must divide the width.
        patch: side of a square patch in pixels; 8 gives the 64×64 of Tiny-ImageNet as many tokens as 4 gives CIFAR.
        mlp_ratio: hidden units of a block's perceptron for each number of a token.

    Raises:
        UserError: a patch that does not divide the image, heads that do not divide the width, a number of hidden
            units that is not whole, or another number that is not whole and at least 1.
    """
    channels, height, wide = input_shape
    require_whole("vit", depth=depth, width=width, heads=heads, patch=patch)
    if height % patch or wide % patch:
        raise UserError(f"vit cuts the image into patches of {patch}×{patch}, which do not divide {height}×{wide}.")
    if width % heads:
        raise UserError(f"vit shares its width among its heads, but {heads} heads do not divide width {width}.")
    hidden = _hidden_units(width, mlp_ratio)
    embedding = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
    blocks = nn.Sequential(*(EncoderBlock(width, heads, hidden) for _ in range(depth)))
    return VisionTransformer(embedding, (height // patch) * (wide // patch), blocks, classes)


def _hidden_units(width: int, mlp_ratio: object) -> int:
    number = isinstance(mlp_ratio, int | float) and not isinstance(mlp_ratio, bool)
    hidden = width * mlp_ratio if number else 0  # type: ignore[operator]
    if hidden < 1 or hidden % 1:
        raise UserError(f"vit needs an mlp_ratio that makes a whole number of width {width}, not {mlp_ratio!r}.")
    return int(hidden)
