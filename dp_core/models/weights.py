"""The weights of a network, by the types of its layers."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

from dp_core.errors import UserError

_OF_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def layer_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return by name what multiplies activations in layers of torch, used or not; a shared weight once, as named first.

    That are the weights of convolutions (transposed ones too), linear and bilinear layers, attention, and recurrent
    layers and their cells. Networks that multiply with parameters of their own are known by `observe`.

    Raises:
        UserError: the weight of such a layer is no parameter but computed from others.
    """
    owned = set()
    for path, module in model.named_modules():
        for name in _names(module):
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and module._parameters.get(name) is weight:
                owned.add(id(weight))
            elif weight is not None:
                raise _no_parameter(module, f"{path}.{name}" if path else name)
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in owned}


def _names(module: nn.Module) -> tuple[str, ...]:
    if isinstance(module, _ConvNd | nn.Linear | nn.Bilinear):
        return ("weight",)
    if isinstance(module, nn.MultiheadAttention):
        return _OF_ATTENTION
    if isinstance(module, nn.RNNBase):
        return tuple(name for name in module._flat_weights_names if name.startswith("weight"))
    return ("weight_ih", "weight_hh") if isinstance(module, nn.RNNCellBase) else ()


def _no_parameter(module: nn.Module, name: str) -> UserError:
    return UserError(
        f"'{name}' ({type(module).__name__}) is no parameter but computed from others, as by weight norm, spectral "
        "norm or torch's own pruning, so that no mask can keep it at zero; the model must come without that "
        "(torch.nn.utils.parametrize.remove_parametrizations takes it away)."
    )
