"""The columns of the Parquet tables of `winnow prune`: one row a result, one row a round."""

from __future__ import annotations

import pyarrow as pa

from search.output.tables import schema_of

_TEXT, _WHOLE, _NUMBER = pa.string(), pa.int64(), pa.float64()
_NUMBERS = pa.list_(pa.float64())

RESULTS = schema_of(
    {
        "network": _TEXT,
        "seed": _WHOLE,
        "method": _TEXT,
        "family": _TEXT,
        "kind": _TEXT,
        "parent": _TEXT,
        "source": _TEXT,
        "space": _TEXT,
        "criterion": _TEXT,
        "steps": _WHOLE,
        "learning_rate": _NUMBER,
        "target_sparsity": _NUMBER,
        "sparsity": _NUMBER,
        "prunable_parameters": _WHOLE,
        "parameters": _WHOLE,
        "rounds": _WHOLE,
        "mask_image_gradients": _WHOLE,
        "mask_seconds": _NUMBER,
        "mask_processor_seconds": _NUMBER,
        "set_image_gradients": _WHOLE,
        "set_seconds": _NUMBER,
        "status": _TEXT,
        "reason": _TEXT,
        "test_accuracy": _NUMBER,
        "test_loss": _NUMBER,
        "validation_accuracy": _NUMBER,
        "validation_loss": _NUMBER,
        "train_learning_rate": _NUMBER,
        "train_image_gradients": _WHOLE,
        "train_seconds": _NUMBER,
        "train_processor_seconds": _NUMBER,
        "error_barrier": _NUMBER,
        "loss_barrier": _NUMBER,
        "positions": _NUMBERS,
        "path_errors": _NUMBERS,
        "path_losses": _NUMBERS,
        "top_eigenvalue": _NUMBER,
        "eigenvalue_converged": pa.bool_(),
        "layer_densities": pa.list_(pa.struct({"name": pa.string(), "density": pa.float64()})),
    },
    always=("network", "seed", "method", "family", "target_sparsity", "status"),
)
"""One row per network × seed × method × target sparsity.

Accuracies, sparsities, densities and error barriers are fractions in [0, 1], loss barriers are in nats, `mask_seconds`
is on the clock and `mask_processor_seconds` of the processor; the distilled set of a method cost `set_image_gradients`
and `set_seconds` to make, which the mask's costs leave out. `space` is that of the images that the rounds train on,
"standardised" or "whitened". Sparsities are those of the `prunable_parameters` among all `parameters` of the network.
"""
ROUNDS = schema_of(
    {
        "network": _TEXT,
        "seed": _WHOLE,
        "method": _TEXT,
        "round": _WHOLE,
        "sparsity": _NUMBER,
        "train_loss": _NUMBER,
        "validation_accuracy": _NUMBER,
        "image_gradients": _WHOLE,
        "seconds": _NUMBER,
        "processor_seconds": _NUMBER,
        "status": _TEXT,
        "reason": _TEXT,
    },
    always=("network", "seed", "method", "round", "sparsity", "status"),
)
"""One row per network × seed × method × round; costs are cumulative."""
