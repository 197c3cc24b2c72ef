"""What stands between two convolutions as one operation on the CPU, and models made of such operations."""

from dp_core.kernels.build import block_library, cache_folder, cpu_facts
from dp_core.kernels.formats import takes_any_format
from dp_core.kernels.fusing import fused, unfused_norms
from dp_core.kernels.memory import keep_freed_memory
from dp_core.kernels.pointwise import has_skipping, without_skipping
from dp_core.kernels.twins import Twins

__all__ = [
    "Twins",
    "block_library",
    "cache_folder",
    "cpu_facts",
    "fused",
    "has_skipping",
    "keep_freed_memory",
    "takes_any_format",
    "unfused_norms",
    "without_skipping",
]
