"""Makes assets/cifar10-mini: a small, class-balanced subset of CIFAR-10 that keeps every pixel as it was.

    python scripts/make_cifar10_mini.py --source FOLDER_WITH_CIFAR10_SHARDS

The source is CIFAR-10 as Parquet shards in the Hugging Face image layout. The same source, seed and pyarrow version
give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dp_core.data.parquet import read_class_names, read_images
from dp_core.data.parquet_labels import read_labels
from dp_core.data.shards import find_shards
from dp_core.errors import UserError
from dp_core.files import digest_of_file, replacing, write_text
from dp_core.seeds import derive_seed

# In label order, for sources that do not name them.
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LARGEST = 14_000_000  # bytes in all: what a clone of the project can bear

CARD = """# CIFAR-10 mini

A class-balanced subset of CIFAR-10 for quick starts and tests: {train} training and {test} test images of each of
{classes} classes, {size}, 8 bits a channel, as PNG in Parquet shards of the Hugging Face image layout
(`img`: struct of `bytes` and `path`; `label`: int64, with the class names in the file's metadata).

**Source.** CIFAR-10: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009. CIFAR-10 was
published for research without a formal licence; this project's licence does not cover the images.

**How it was made.** `python scripts/make_cifar10_mini.py --source FOLDER --seed {seed}`: in each class of each split,
images are ranked by a seeded random order and the first ones taken, passing over images whose pixels were taken before
(so no test image is also a training image); then they are put back into the order of the source. PNG bytes are copied,
or re-encoded where that is smaller; pixels are the same either way. `path` tells the row of the source's split.

| file | images | bytes | SHA-256 |
|---|---|---|---|
{files}
"""


@dataclass(frozen=True)
class Row:
    """An image that was chosen: its PNG bytes, its label, and its row in the source's split."""

    png: bytes
    label: int
    source_row: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and make the subset; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--source", type=Path, required=True, help="folder with CIFAR-10 as train*/test*.parquet")
    parser.add_argument("--target", type=Path, default=Path("assets/cifar10-mini"), help="folder to write")
    parser.add_argument("--train", type=int, default=500, help="training images a class")
    parser.add_argument("--test", type=int, default=100, help="test images a class")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        make(options.source, options.target, train=options.train, test=options.test, seed=options.seed)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def make(source: Path, target: Path, *, train: int, test: int, seed: int) -> None:
    """Write the two shards and the card to `target`, taking `train` and `test` images a class from `source`."""
    train_shards, test_shards = find_shards(source)
    names = read_class_names([*train_shards, *test_shards]) or CIFAR10_CLASSES
    taken: set[str] = set()
    rows = {
        "test": choose(test_shards, "test", len(names), test, seed, taken),
        "train": choose(train_shards, "train", len(names), train, seed, taken),
    }
    total = sum(len(row.png) for split in rows.values() for row in split)
    if total > LARGEST:
        raise UserError(
            f"The images chosen from {source} take {total} bytes, but {LARGEST} is the most that is shipped."
        )
    files = {split: write_shard(target, split, rows[split], names) for split in ("train", "test")}
    table = [f"| {p.name} | {len(rows[s])} | {p.stat().st_size} | `{digest_of_file(p)}` |" for s, p in files.items()]
    width, height = Image.open(io.BytesIO(rows["train"][0].png)).size
    card = CARD.format(
        train=train, test=test, classes=len(names), size=f"{width}x{height}", seed=seed, files="\n".join(table)
    )
    write_text(target / "README.md", card)


def choose(shards: Sequence[Path], split: str, classes: int, each: int, seed: int, taken: set[str]) -> list[Row]:
    """Choose `each` images a class whose pixels are not in `taken`, and add theirs to it; rows are in source order."""
    labels = np.concatenate([read_labels(shard) for shard in shards])
    images = [image.content for batch in read_images(shards) for image in batch]
    chosen: list[Row] = []
    for c in range(classes):
        members = np.flatnonzero(labels == c)
        order = np.argsort(np.random.PCG64(derive_seed(seed, "mini", split, c)).random_raw(len(members)), kind="stable")
        found = 0
        for row in members[order].tolist():
            if found == each:
                break
            digest = pixel_digest(images[row])
            if digest not in taken:
                taken.add(digest)
                chosen.append(Row(smallest(images[row]), c, row))
                found += 1
        if found < each:
            raise UserError(f"{shards[0].parent} has only {found} different {split} images of class {c}, not {each}.")
    return sorted(chosen, key=lambda row: row.source_row)


def pixel_digest(encoded: bytes) -> str:
    """Return the SHA-256 of an image's mode, size and pixels, whatever its encoding."""
    image = Image.open(io.BytesIO(encoded))
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()


def smallest(encoded: bytes) -> bytes:
    """Return `encoded` if it is a PNG that compresses no further, else a smaller PNG of the same pixels."""
    image = Image.open(io.BytesIO(encoded))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    again = buffer.getvalue()
    if (image.format == "PNG" and len(encoded) <= len(again)) or pixel_digest(again) != pixel_digest(encoded):
        return encoded
    return again


def write_shard(target: Path, split: str, rows: Sequence[Row], names: Sequence[str]) -> Path:
    """Write one shard in the Hugging Face image layout and return its path."""
    features = {"img": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    schema = pa.schema(
        [("img", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    columns = {
        "img": [{"bytes": row.png, "path": f"{split}/{row.source_row:05d}.png"} for row in rows],
        "label": [row.label for row in rows],
    }
    path = target / f"{split}-00000-of-00001.parquet"
    with replacing(path) as temporary:
        table = pa.table(columns, schema=schema)
        pq.write_table(table, temporary, compression="zstd", compression_level=19, row_group_size=1000)
    return path


if __name__ == "__main__":
    sys.exit(main())
