"""`winnow distill`: make distilled sets by a config, or evaluate one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dp_core.errors import UserError, nearest
from search.cli.runs import (
    AcceptOption,
    Beginning,
    ConfigArgument,
    JsonOption,
    OverridesArgument,
    ResumeOrStartOption,
    begin,
)
from search.output.json_rows import print_rows
from search.output.terminal import console_of_width

_MAKE = "make"


class DistillGroup(TyperGroup):
    """Takes `winnow distill CONFIG …` for `winnow distill make CONFIG …`: whatever is no command is a config."""

    # Newer releases of Typer bring a Click of their own, so that no one type of a context suits all.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click.Group."""
        first = args[0] if args else "--help"
        if first not in self.commands and first not in ctx.help_option_names:
            self._refuse_misspelt(first)
            args = [_MAKE, *args]
        return super().parse_args(ctx, args)

    def _refuse_misspelt(self, word: str) -> None:
        hint = nearest(word, [name for name, command in self.commands.items() if not command.hidden])
        if hint and not Path(word).suffix and not Path(word).exists():
            raise UserError(f"There is no command 'winnow distill {word}', nor a config file {word}.{hint}")


app = typer.Typer(
    cls=DistillGroup,
    no_args_is_help=True,
    subcommand_metavar="CONFIG [KEY=VALUE]... | COMMAND [ARGS]...",
    help="Make distilled sets by a YAML file, as a run that can be resumed and watched; or evaluate a set.",
)


@app.callback()
def distill() -> None:
    """Make distilled sets by a YAML file, as a run that can be resumed and watched; or evaluate a set."""


@app.command(_MAKE, hidden=True)
def make(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    resume_or_start: ResumeOrStartOption = False,
    accept_changes: AcceptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the sets of a YAML file."""
    begin("distillation", config, overrides, Beginning(resume_or_start, accept_changes), None, as_json)


@app.command()
def evaluate(
    set_path: Annotated[Path, typer.Argument(metavar="SET", help="The set's .safetensors file.", show_default=False)],
    data_root: Annotated[Path, typer.Option(help="Folder that holds the real images.")] = Path("assets/cifar10-mini"),
    data_format: Annotated[str, typer.Option(help="As a config's data.format.")] = "parquet",
    data_image: Annotated[str | None, typer.Option(help="As a config's data.image.", show_default=False)] = None,
    data_label: Annotated[str | None, typer.Option(help="As a config's data.label.", show_default=False)] = None,
    data_ground: Annotated[str, typer.Option(help="As a config's data.ground.")] = "grey",
    data_validation: Annotated[float, typer.Option(help="As a config's data.validation, with run.seed 0.")] = 0.1,
    networks: Annotated[int, typer.Option(min=1, help="Networks trained of each architecture.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of each training.")] = 300,
    architectures: Annotated[
        list[str] | None,
        typer.Option("--architecture", help="Network, such as convnet:width=64,norm=batch; may be given again."),
    ] = None,
    pool: Annotated[bool, typer.Option("--pool", help="All 45 ConvNets of norm × activation × pooling.")] = False,
    controls: Annotated[bool, typer.Option(help="Random and herded real images beside the set.")] = True,
    quality: Annotated[bool, typer.Option("--quality", help="Mask agreement and quality, feature distances.")] = False,
    save: Annotated[bool, typer.Option(help="Keep the results in the set's card.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train fresh networks on a set and say what they learn, beside real images at equal cost."""
    from dp_core.data import Reading
    from search.distillation.evaluate import evaluate as evaluate_set
    from search.distillation.evaluation_sheets import evaluation_sheets
    from search.runs.progress import Progress

    rows: list[dict[str, Any]] = evaluate_set(
        set_path,
        data_format=data_format,
        data_root=data_root,
        validation=data_validation,
        networks=networks,
        steps=steps,
        architectures=architectures or [],
        pool=pool,
        controls=controls,
        quality=quality,
        save=save,
        seed=seed,
        progress=Progress(),
        reading=Reading(data_image, data_label, data_ground),
    )
    if as_json:
        print_rows(rows)
        return
    console = console_of_width(140)
    for table in evaluation_sheets(rows):
        console.print(table)
