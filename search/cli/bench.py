"""`winnow bench`: what is measured of Winnow on the machine it runs on."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from search.output.json_rows import print_rows

app = typer.Typer(no_args_is_help=True, help="Measure Winnow on this machine.")


@app.callback()
def bench() -> None:
    """Measure Winnow on this machine."""


@app.command()
def engine(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Network, such as alexnet or convnet:width=64,norm=batch; may be given again."),
    ] = None,
    modes: Annotated[
        list[str] | None,
        typer.Option("--mode", help="usual, eager, fused, compiled or auto; on a GPU also graph; may be given again."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 256,
    images: Annotated[int, typer.Option(help="Images of the data set, which are random.")] = 2048,
    augmentation: Annotated[str, typer.Option(help="As a recipe's: none, flip_crop or siamese.")] = "none",
    optimizer: Annotated[str, typer.Option(help="As a recipe's: sgd, adam or adamw.")] = "sgd",
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all that can be used.")] = None,
    repetitions: Annotated[int, typer.Option(help="Measurements, of which the median counts.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure how fast networks train here, where the time goes and how far that is from the machine's ceiling.

    Every row is measured in a process of its own; nothing else should run meanwhile.
    """
    from search.cli.engine_bench import engine_tables, measure_rows, workloads
    from search.runs.machine import usable_cpus
    from search.runs.progress import Progress

    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "images": images,
        "augmentation": augmentation,
        "optimizer": optimizer,
        "threads": usable_cpus() if threads is None else threads,
        "repetitions": repetitions,
    }
    # As Ctrl-C, so that the measuring process does not go on alone.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows = measure_rows(workloads(models, modes, settings), Progress())
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
    if as_json:
        print_rows(rows)
    else:
        # In a log file or a pipe a table is as wide as it needs to be.
        console = Console() if sys.stdout.isatty() else Console(width=140)
        console.print(engine_tables(rows))
    if any(row["failed"] for row in rows):
        raise typer.Exit(1)
