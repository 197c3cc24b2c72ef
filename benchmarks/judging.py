"""What one judge changes in a search: candidates of the quickstart, screened and retrained once, judged in two ways.

    python -m benchmarks.judging                    # some twenty minutes on two cores; what is there is not done again
    python -m benchmarks.judging --candidates 12

Candidates are drawn at random from the space of the quickstart, as many of every norm. Each is screened as a search
does it, and its ticket is retrained on the real images, all of them, whatever its score. After the last round, and
after the retraining, the very same network is evaluated twice:

    before    with the running norm statistics that its training left, as Winnow did it until now
    after     by `dp_core.judging.judge`, with statistics estimated anew on real training images

Writes a Parquet table with a row for each candidate, and a page with rank correlations of screening with retraining.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from benchmarks.measuring import RESULTS
from dp_core.distillation.base import standardisation_of
from dp_core.files import digest_of_json, write_text
from dp_core.judging import calibration_images, judge
from dp_core.models import build
from dp_core.pruning import CRITERIA, IterativePruning, PruningPlan, Ticket, sparsity_schedule
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData, evaluate
from search.config.loader import load_config
from search.config.models import SearchConfig
from search.output.rank_correlation import rank_correlation
from search.pipeline.preparation import Preparation, prepare
from search.pipeline.run import wanted_sets
from search.pipeline.screening import screening_context
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.progress import Progress
from trainables import ScreeningContext
from trainables.screening.rungs.pruning import screening_data
from trainables.trials.candidate import Candidate

CONFIG = Path("configs/quickstart.yaml")
NORMS = ("none", "instance", "batch")
JUDGES = ("before", "after")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=48, help="a multiple of three")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/judging"), help="rows as they are done")
    parser.add_argument("--output", type=Path, default=RESULTS / "judging")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    proposals = list(drawn(prepared().space, arguments.candidates))
    sets_made(prepared())  # once, before the processes ask for them
    missing = [each for each in proposals if not _row_file(arguments.work, each).exists()]
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(measured, proposal): proposal for proposal in missing}
        for done, future in enumerate(as_completed(futures), start=1):
            row = future.result()
            write_text(_row_file(arguments.work, futures[future]), json.dumps(row))
            print(f"{done} of {len(missing)}: {row['architecture']}, {row['source']}: {row}", flush=True)
    rows = [json.loads(_row_file(arguments.work, each).read_text()) for each in proposals]
    pq.write_table(pa.Table.from_pylist(rows), f"{arguments.output}.parquet")
    write_text(Path(f"{arguments.output}.md"), page(rows))
    print(page(rows))


def prepared() -> Preparation:
    """Return the quickstart, checked."""
    return prepare(load_config(SearchConfig, CONFIG, []), str(CONFIG), local=False)


def sets_made(preparation: Preparation) -> dict[str, Any]:
    """Return the distilled sets and random subsets of the quickstart, from its library if they are there."""
    return make_sets(
        wanted_sets(preparation),
        preparation.splits,
        preparation.config.distill.directory,
        preparation.config.run.seed,
        RunDirectory(preparation.config.run.directory),
        Progress(quiet=True),
    )


def drawn(space: Any, count: int) -> Iterator[dict[str, Any]]:
    """Yield candidates drawn at random, in turn of every norm."""
    parts = {norm: space.fixed("model.norm", norm) for norm in NORMS}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for index in range(count):
        norm = NORMS[index % len(NORMS)]
        yield {**parts[norm].suggest(study.ask()), "number": index}


def measured(proposal: Mapping[str, Any]) -> dict[str, Any]:
    """Screen and retrain a candidate and return its row."""
    torch.set_num_threads(1)
    preparation = prepared()
    context = screening_context(preparation, sets_made(preparation))
    number = int(proposal["number"])
    candidate = Candidate.parse({key: proposal[key] for key in proposal if key != "number"}, 10)
    row: dict[str, Any] = {
        "candidate": number,
        "architecture": candidate.model.label(),
        "norm": candidate.model.hyperparameters["norm"],
        "source": candidate.source,
        "ipc": candidate.images_per_class,
        "sparsity": candidate.sparsity,
        "steps": candidate.recipe.steps,
        "learning_rate": candidate.recipe.learning_rate,
        "status": "finished",
    }
    seed = derive_seed(context.seed, "trial", number)
    try:
        ticket = screened(candidate, context, seed, row)
        retrained(ticket, preparation, context, derive_seed(seed, "retraining"), row)
    except Diverged:
        row["status"] = "diverged"
    return row


def screened(candidate: Candidate, context: ScreeningContext, seed: int, row: dict[str, Any]) -> Ticket:
    """Prune as a search does; put the proxy accuracies into the row."""
    data, scored, calibration = screening_data(context, candidate, torch.device("cpu"))
    shape = context.train.open().image_shape
    model = build(candidate.model, shape, 10, seed=derive_seed(seed, "weights"))
    plan = PruningPlan(
        sparsities=sparsity_schedule(candidate.sparsity, context.prune_fraction),
        criterion=CRITERIA[context.criterion],
        recipe=candidate.recipe,
        rewind_step=context.rewind_step,
    )
    pruning = IterativePruning(model, data, plan, seed=seed)
    while not pruning.finished:
        pruning.run_round()
    row |= both(model, scored, calibration, candidate.recipe, "proxy_accuracy")
    return Ticket(candidate.model, shape, 10, pruning.rewind_weights, pruning.mask, history=[], provenance={})


def retrained(
    ticket: Ticket, preparation: Preparation, context: ScreeningContext, seed: int, row: dict[str, Any]
) -> None:
    """Train a ticket on the real images; put test accuracies at the end, and early on, into the row."""
    splits, recipe = preparation.splits, preparation.retraining
    space = standardisation_of(splits.train)
    training = Training(
        ticket.build(),
        TrainingData(splits.train.images, splits.train.labels, space),
        replace(recipe, epochs=float(preparation.config.retrain.epochs), steps=None),
        seed=seed,
        mask=ticket.mask,
    )
    test = TrainingData(splits.test.images, splits.test.labels, space)
    calibration = calibration_images(splits.train, space)
    training.run()
    row |= both(training.model, test, calibration, recipe, "test_accuracy")


def both(
    model: nn.Module, scored: TrainingData, calibration: TrainingData, recipe: Recipe, name: str
) -> dict[str, float]:
    """Return the accuracies of one network by both judges."""
    before = evaluate(model, scored, precision=recipe.precision, mode=recipe.mode)
    after = judge(model, scored, calibration, recipe)
    return {f"{name}_before": before.accuracy, f"{name}_after": after.accuracy}


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page in Markdown."""
    done = [row for row in rows if row["status"] == "finished"]
    groups = {"all norms": done, **{norm: [row for row in done if row["norm"] == norm] for norm in NORMS}}
    groups |= {
        f"all norms, screened on {source} images": [row for row in done if row["source"] == source]
        for source in ("distilled", "subset", "real")
    }
    correlations = "\n".join(
        f"| {name} | {len(found)} | " + " | ".join(_correlation(found, judged) for judged in JUDGES) + " |"
        for name, found in groups.items()
    )
    accuracies = "\n".join(
        f"| {norm} | "
        + " | ".join(
            f"{100 * np.mean([row[f'{measure}_{judged}'] for row in groups[norm]]):.1f}"
            for measure in ("proxy_accuracy", "test_accuracy")
            for judged in JUDGES
        )
        + " |"
        for norm in NORMS
    )
    return f"""# One judge: what it changes in a search

`python -m benchmarks.judging`: {len(rows)} candidates drawn at random from `configs/quickstart.yaml`, as many of every
norm, each screened and retrained once (2 processes of one thread), {len(rows) - len(done)} of which diverged. The same
networks are judged with the norm statistics that their training left (before), and with statistics estimated anew on
real training images (after). Rows: [`judging.parquet`](judging.parquet).

Rank correlation (Spearman) of screening's validation accuracy with test accuracy after retraining, both by the same
judge, with a 95 % bootstrap interval over candidates:

| candidates | n | before | after |
|---|---|---|---|
{correlations}

Mean accuracy %:

| norm | screening, before | after | retrained, before | after |
|---|---|---|---|---|
{accuracies}

Of the {len(done)} candidates, those that screening puts first, and their mean test accuracy % (by the judge of now):

| | before | after | best possible |
|---|---|---|---|
{_promoted(done)}
"""


def _correlation(rows: Sequence[Mapping[str, Any]], judged: str) -> str:
    found = rank_correlation(
        [row[f"proxy_accuracy_{judged}"] for row in rows], [row[f"test_accuracy_{judged}"] for row in rows], seed=0
    )
    return "–" if found is None else f"{found.rho:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _promoted(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for count in (3, 6, 12):
        cells = []
        for key in (*(f"proxy_accuracy_{judged}" for judged in JUDGES), "test_accuracy_after"):
            best = sorted(rows, key=lambda row: -row[key])[:count]
            batch = sum(row["norm"] == "batch" for row in best)
            cells.append(f"{100 * np.mean([row['test_accuracy_after'] for row in best]):.1f} ({batch} of batch norm)")
        lines.append(f"| first {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _row_file(folder: Path, proposal: Mapping[str, Any]) -> Path:
    return folder / f"{digest_of_json(dict(proposal))[:16]}.json"


if __name__ == "__main__":
    main()
