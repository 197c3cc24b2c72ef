"""Architectures and spaces of them: the registry, building one from a ModelSpec, checking that it takes its images."""

from dp_core.models.building import build, outline, with_defaults
from dp_core.models.checking import check_forward
from dp_core.models.families import Families
from dp_core.models.initialisation import INITIALISATIONS
from dp_core.models.products import layer_by_layer, observe, recorded_products
from dp_core.models.registry import ARCHITECTURES
from dp_core.models.sampling import stratified
from dp_core.models.spaces import SPACES, convnet720, nasbench201_space, resnet_family, vit_family
from dp_core.models.spec import ModelSpec, source_digest
from dp_core.models.tracing import Products
from dp_core.models.weights import layer_weights

__all__ = [
    "ARCHITECTURES",
    "INITIALISATIONS",
    "SPACES",
    "Families",
    "ModelSpec",
    "Products",
    "build",
    "check_forward",
    "convnet720",
    "layer_by_layer",
    "layer_weights",
    "nasbench201_space",
    "observe",
    "outline",
    "recorded_products",
    "resnet_family",
    "source_digest",
    "stratified",
    "vit_family",
    "with_defaults",
]
