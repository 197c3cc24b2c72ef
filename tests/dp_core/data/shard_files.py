"""Makes small image files and Parquet shards for the tests, without any code of the project."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Array = npt.NDArray[np.uint8]


def random_images(n: int, shape: tuple[int, ...] = (6, 5, 3), seed: int = 0) -> list[Array]:
    """Return `n` images of `shape` (H, W, C) or (H, W)."""
    return list(np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8))


def encode(image: Array, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def write_shard(
    path: Path,
    contents: Sequence[bytes | None],
    labels: Sequence[int | None],
    *,
    image_column: str = "img",
    label_column: str = "label",
    names: Sequence[str] | None = None,
    plain: bool = False,
    row_group_size: int = 3,
) -> Path:
    """Write a shard; with `names`, the metadata that Hugging Face's datasets library writes."""
    if plain:
        images = pa.array(contents, pa.binary())
    else:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([None if c is None else {"bytes": c, "path": None} for c in contents], kind)
    table = pa.table({image_column: images, label_column: pa.array(labels, pa.int64())})
    if names is not None:
        features = {
            image_column: {"_type": "Image"},
            label_column: {"names": list(names), "_type": "ClassLabel"},
        }
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def write_dataset(root: Path, *, train: int = 8, test: int = 4, classes: int = 2) -> tuple[list[Array], list[Array]]:
    """Write one train and one test shard with labels 0, 1, …, 0, 1, …; return the images."""
    images = random_images(train + test)
    for split, part in (("train", images[:train]), ("test", images[train:])):
        labels = [i % classes for i in range(len(part))]
        write_shard(root / f"{split}-00000-of-00001.parquet", [encode(image) for image in part], labels)
    return images[:train], images[train:]


def files_in(folder: Path) -> list[str]:
    """Return the names of all files in `folder`, hidden and temporary ones included."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
