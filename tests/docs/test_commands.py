"""Every command that the pages show would be understood, and the check of that would notice if not."""

from __future__ import annotations

import pytest

from tests.docs.commands import mistake, names_a_command
from tests.docs.pages import LANGUAGES, Page, of_the_house


@of_the_house
def test_the_commands_would_be_understood(page: Page) -> None:
    commands = page.commands() + [text for text in page.spoken_commands() if not names_a_command(text)]
    wrong = {command: found for command in commands if (found := mistake(command)) is not None}
    assert wrong == {}


@of_the_house
def test_nothing_is_shown_in_a_way_that_no_test_looks_at(page: Page) -> None:
    assert {language for language, _ in page.blocks()} <= set(LANGUAGES)
    assert [line for line in page.prose().splitlines() if line.startswith(("    ", "\t", "```"))] == []


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("winnow serach configs/quickstart.yaml", "No such command"),
        ("winnow search configs/quickstart.yaml --no-such-option", "No such option"),
        ("winnow search", "Missing"),
        ("winnow search configs/nothing.yaml", "does not exist"),
        ("winnow search configs/quickstart.yaml search.trails=60", "Did you mean 'trials'"),
        ("winnow search configs/quickstart.yaml search.trials=many", "search.trials"),
        ("winnow search configs/quickstart.yaml 'space.recipe.optimiser=sgd'", "optimizer"),
        ("winnow search configs/quickstart.yaml 'space.sparsity={float: [0.7]}'", "two bounds"),
        ("winnow search configs/quickstart.yaml retrain.recipe.epochs=3", "retrain.epochs"),
        ("winnow prune configs/quickstart.yaml", "UserError"),
        ("winnow prune configs/prune/mini.yaml distill.settings.iteration=3", "iterations"),
        ("winnow proxy-eval configs/proxy/mini.yaml proxies.nwot.settings.image=3", "images"),
        ("winnow distill configs/distill/mini.yaml distill.method=matching", "distill.method"),
        ("winnow distill evaluate assets/distilled/cifar10-100ipc.safetensors", "there is no assets"),
        ("winnow resume RUN search.trails=100", "Did you mean 'trials'"),
        ("winnow retrain RUN search.trials=100", "is no key of 'retrain'"),
        ("winnow bench engine --model convnet:widht=64", "widht"),
        ("make everything", "no target everything"),
        ("make search ARG='run.seed=1'", "no variable ARG"),
        ('make search ARGS="run.sede=1"', "Did you mean 'seed'"),
        ("python -m benchmarks.engine_sped", "there is no benchmarks/engine_sped.py"),
        ("python benchmarks/random_mask.py RUN --seed 5", "no option --seed"),
        (".venv/bin/python -m pytest -q tests/nothing", "there is no tests/nothing"),
        ("ray start --haed", "haed"),
        ("winow search configs/quickstart.yaml", "nobody knows"),
    ],
)
def test_a_wrong_command_is_found(command: str, part: str) -> None:
    assert part in (mistake(command) or "")
