"""What one can watch of a set while it is made: lines, curves and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

from dp_core.distillation import DistilledSet, Distiller
from dp_core.distillation.iterative import IterativeDistiller
from search.distillation.pictures import Album
from search.distillation.unfinished import Unfinished
from search.output.event_run import EventRun
from search.runs.progress import Progress

# Points of a curve of losses, at most.
_POINTS = 1000


class Watch:
    """Is told how the making of one set goes; nothing that it does changes the set.

    TensorBoard's run of the set is `<ipc>ipc`, with its loss, its best validation accuracy so far (where the distiller
    looks at validation images) and its pictures; the loss of what comes before, such as training experts or a teacher,
    is in `<ipc>ipc-preparation`.

    Args:
        run: the run directory; pictures go to `images` and curves to `tensorboard` in it.
        images_per_class: ipc of the set.
        distiller: what makes it.
        unfinished: its checkpoint.
        progress: prints the lines.
    """

    def __init__(
        self, run: Path, images_per_class: int, distiller: Distiller, unfinished: Unfinished, progress: Progress
    ) -> None:
        self._name = f"{images_per_class}ipc"
        # By their number the steps of the distillation proper are told from what comes before, if anything does.
        stepping = distiller if isinstance(distiller, IterativeDistiller) else None
        self._iterations = None if stepping is None or stepping.minutes is not None else stepping.iterations
        self._judged = stepping is not None and stepping.looks
        self._unfinished, self._progress = unfinished, progress
        self._album = Album(run / "images")
        self._board = run / "tensorboard"
        self._runs: dict[str, EventRun] = {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._runs.values():
            run.close()

    def step(self, done: int, total: int, loss: float) -> None:
        """See `dp_core.distillation.Progress`."""
        proper = self._iterations is None or total == self._iterations
        phase = "distilling" if proper else "preparing"
        self._progress.step(phase, done, total, f"steps for {self._name}, loss {loss:.4g}")
        if math.isfinite(loss) and (done % max(1, total // _POINTS) == 0 or done == total):
            run = self._name if proper else f"{self._name}-preparation"
            self._run(run).add(_scalars({"loss": loss}), done)

    def say(self, sentence: str) -> None:
        """Print a line."""
        self._progress.say("distilling", f"{self._name}: {sentence}")

    def snapshot(self, iterations: int, distilled: DistilledSet) -> None:
        """Keep a picture of the set as it is after so many iterations."""
        if self._judged:
            best = {"best_validation_accuracy": self._unfinished.best_score()}
            self._run(self._name).add(_scalars(best), iterations)
        self._show(f"{self._name}-{iterations:05d}", distilled, iterations)

    def finished(self, distilled: DistilledSet) -> None:
        """Keep a picture of the set that was made, and what its card says of it."""
        made = distilled.provenance
        scores = {"validation_accuracy": made.get("validation_accuracy"), "seconds": made["cost"]["seconds"]}
        self._run(self._name).add(_scalars({f"final/{name}": value for name, value in scores.items()}))
        self._show(self._name, distilled, None)

    def _show(self, name: str, distilled: DistilledSet, step: int | None) -> None:
        path = self._album.add(name, distilled)
        with Image.open(path) as picture:
            width, height = picture.size
            colours = len(picture.getbands())
        image = Summary.Image(height=height, width=width, colorspace=colours, encoded_image_string=path.read_bytes())
        tag = "images" if step is not None else "final/images"
        self._run(self._name).add(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def _run(self, name: str) -> EventRun:
        if name not in self._runs:
            self._runs[name] = EventRun(self._board / name)
        return self._runs[name]


def _scalars(values: Mapping[str, float | None]) -> Summary:
    numbers = {name: value for name, value in values.items() if value is not None}
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()])
