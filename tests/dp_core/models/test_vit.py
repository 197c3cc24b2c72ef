from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import prunable_parameters

# Names of torchvision's modules for ours, the longer first.
THEIRS = {
    "blocks.": "encoder.layers.encoder_layer_",
    "attention.0.": "ln_1.",
    "attention.1.qkv.": "self_attention.in_proj_",
    "attention.1.projection.": "self_attention.out_proj.",
    "mlp.0.": "ln_2.",
    "mlp.1.": "mlp.0.",
    "mlp.3.": "mlp.3.",
    "norm.": "encoder.ln.",
    "classifier.": "heads.head.",
    "class_token": "class_token",
    "positions": "encoder.pos_embedding",
    "embedding.": "conv_proj.",
}


def renamed(name: str) -> str:
    if name.startswith("blocks."):
        _, index, rest = name.split(".", 2)
        start = next(ours for ours in THEIRS if rest.startswith(ours))
        return f"encoder.layers.encoder_layer_{index}.{THEIRS[start]}{rest.removeprefix(start)}"
    start = next(ours for ours in THEIRS if name.startswith(ours))
    return THEIRS[start] + name.removeprefix(start)


def test_the_default_has_the_parameters_that_its_layers_add_up_to() -> None:
    model = build(ModelSpec("vit"), (3, 32, 32), 10)
    width, hidden, tokens = 256, 512, 65
    block = 4 * (width * width + width) + width * hidden + hidden + hidden * width + width + 2 * 2 * width
    embedding = 3 * 16 * width + width + tokens * width + width
    expected = embedding + 6 * block + 2 * width + 10 * width + 10
    assert sum(p.numel() for p in model.parameters()) == expected == 3_195_146  # ViT-Lite-6/4's 3.19 M (2104.05704)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 8)])
def test_logits_are_those_of_torchvisions_transformer_with_the_same_weights(shape: tuple[int, int, int]) -> None:
    sizes = {"depth": 2, "width": 24, "heads": 3, "patch": 4, "mlp_ratio": 1.5}
    model = build(ModelSpec("vit", sizes), shape, 7, seed=0).eval()
    with torch.no_grad():
        model.get_parameter("class_token").normal_(generator=torch.Generator().manual_seed(1))
    reference = VisionTransformer(
        image_size=shape[1], patch_size=4, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=36, num_classes=7
    ).eval()
    reference.conv_proj = nn.Conv2d(shape[0], 24, 4, 4)
    reference.load_state_dict({renamed(name): value for name, value in model.state_dict().items()})
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(images), reference(images), rtol=1e-4, atol=1e-5)


def test_attention_is_the_softmax_of_the_papers_appendix() -> None:
    model = build(ModelSpec("vit", {"depth": 1, "width": 6, "heads": 2}), (3, 8, 8), 2, seed=0)
    attention = model.get_submodule("blocks.0.attention.1")
    tokens = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    query, key, value = attention.get_submodule("qkv")(tokens).chunk(3, dim=-1)
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        weights = torch.softmax(query[..., head] @ key[..., head].mT / 3**0.5, dim=-1)
        heads.append(weights @ value[..., head])
    expected: Tensor = attention.get_submodule("projection")(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(tokens), expected, rtol=1e-5, atol=1e-6)


def test_prunable_are_the_embedding_and_all_linear_layers() -> None:
    model = build(ModelSpec("vit", {"depth": 1, "width": 8, "heads": 2}), (3, 12, 8), 5)
    assert {name: tuple(p.shape) for name, p in prunable_parameters(model).items()} == {
        "embedding.weight": (8, 3, 4, 4),
        "blocks.0.attention.1.qkv.weight": (24, 8),
        "blocks.0.attention.1.projection.weight": (8, 8),
        "blocks.0.mlp.1.weight": (16, 8),
        "blocks.0.mlp.3.weight": (8, 16),
        "classifier.weight": (5, 8),
    }


def test_the_first_weights_are_cut_off_normal_ones() -> None:
    model = build(ModelSpec("vit", {"depth": 1}), (3, 32, 32), 10, seed=0)
    for name, parameter in model.named_parameters():
        if name == "positions" or (name.startswith("blocks") and parameter.dim() == 2):
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert not model.get_parameter("classifier.bias").any()


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"patch": 5}, r"patches of 5×5, which do not divide 8×12\."),
        ({"patch": 6}, r"patches of 6×6, which do not divide 8×12\."),
        ({"patch": 16}, r"patches of 16×16, which do not divide 8×12\."),
        ({"width": 10}, r"4 heads do not divide width 10\."),
        ({"heads": 0}, r"whole heads of at least 1, not 0"),
        ({"depth": 1.0}, r"whole depth of at least 1, not 1\.0"),
        ({"patch": "4"}, r"whole patch of at least 1, not '4'"),
        ({"mlp_ratio": 1.3, "width": 16}, r"an mlp_ratio that makes a whole number of width 16, not 1\.3"),
        ({"mlp_ratio": 0}, r"mlp_ratio .* not 0"),
        ({"mlp_ratio": True}, r"mlp_ratio .* not True"),
        ({"mlp_ratio": float("nan")}, r"mlp_ratio .* not nan"),
        ({"mlp_ratio": float("inf")}, r"mlp_ratio .* not inf"),
    ],
)
def test_what_cannot_be_built_is_said(hyperparameters: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(ModelSpec("vit", hyperparameters), (3, 8, 12), 10)
