"""Turn a published distilled set, arrays without their preprocessing, into one that carries it.

    python scripts/import_distilled_set.py published.npz distilled/mtt-10ipc.safetensors --data PATH --zca 0.1

The file has `images`, float32 [N, C, H, W], and `labels`, int64 [N] or, if they are soft, float [N, classes]. Which
space the images are in is only known to who made them: `--zca EPS` says that they were whitened by a ZCA fitted on the
training pixels in [0, 1], the default that they were standardised by the channel statistics. The whitening is fitted
on all training images in PATH. So a set that was distilled from them has seen what a run holds back for validation,
which its card says.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dp_core.data import open_train_test
from dp_core.data.preprocessing import ZCA, Preprocessing
from dp_core.distillation import DistilledSet
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from dp_core.files import digest_of_file


def main() -> None:
    """Read the arguments, convert, and write the set with its card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("arrays", type=Path, help=".npz file with images and labels")
    parser.add_argument("to", type=Path, help="<name>.safetensors to write")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set it was distilled from")
    parser.add_argument("--format", default="parquet", help="format of the data, see data.format")
    parser.add_argument("--cache", type=Path, default=Path(".cache/winnow"), help="folder for decoded images")
    parser.add_argument("--zca", type=float, metavar="EPS", help="eps of the whitening; default: standardisation")
    parser.add_argument("--learning-rate", type=float, help="the rate that was learned with the images")
    given = parser.parse_args()
    train, _ = open_train_test(given.format, given.data, cache=given.cache)
    space: Preprocessing = standardisation_of(train)
    if given.zca is not None:
        space = ZCA.fit(train.images.float().div_(255), given.zca)
    arrays = read_arrays(given.arrays)
    labels = torch.from_numpy(arrays["labels"])
    labels = labels.float() if labels.dim() == 2 else labels.long()
    DistilledSet(
        images=torch.from_numpy(arrays["images"]).float(),
        labels=labels,
        preprocessing=space,
        class_names=train.class_names,
        images_per_class=len(labels) // train.classes,
        learning_rate=given.learning_rate,
        provenance={
            "imported_from": given.arrays.name,
            "sha256": digest_of_file(given.arrays),
            "preprocessing": "standardisation" if given.zca is None else f"ZCA, eps {given.zca}",
            "source_digest": train.digest,
            "source_images": len(train),
        },
    ).save(given.to)
    print(given.to)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return `images` and `labels` of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("images", "labels")}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not an .npz file with images and labels: {error}.") from error


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"import_distilled_set: {error}")
