from __future__ import annotations

from typing import Any

from rich.console import Console

from search.distillation.evaluation_sheets import evaluation_markdown, evaluation_sheets, pool_note


def accuracy(name: str, architecture: str, mean: float, **changed: Any) -> dict[str, Any]:
    return {
        "measure": "test_accuracy",
        "set": name,
        "architecture": architecture,
        "networks": 3,
        "steps": 200,
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "accuracy_mean": mean,
        "accuracy_std": 0.0123,
        "accuracies": [mean] * 3,
        **changed,
    }


def pool(name: str, architecture: str, mean: float) -> dict[str, Any]:
    return accuracy(name, architecture, mean, measure="pool", networks=1, accuracy_std=None)


POOL = [
    pool("mine", "a", 0.50),
    pool("random_images", "a", 0.40),
    pool("mine", "b", 0.30),
    pool("random_images", "b", 0.36),
    pool("mine", "c", 0.30),
    pool("random_images", "c", 0.30),
]


def printed(rows: list[dict[str, Any]]) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        for table in evaluation_sheets(rows):
            console.print(table)
    return captured.get()


def test_accuracies_are_architectures_down_and_sets_across() -> None:
    rows = [
        accuracy("mine", "convnet", 0.6123, optimizer="sgd", learning_rate=0.02),
        accuracy("random_images", "convnet", 0.3),
        accuracy("mine", "alexnet [x]", 0.4, accuracy_std=None),
    ]
    text = evaluation_markdown(rows)
    assert "| Architecture | mine | random_images |" in text
    assert "| convnet | 61.2 ± 1.2 (0.02*) | 30.0 ± 1.2 (0.003) |" in text
    assert "| alexnet [x] | 40.0 (0.003) | - |" in text
    assert "over 3 networks of 200 steps" in text
    assert "alexnet [x]" in printed(rows)


def test_the_pool_names_where_the_set_does_not_lead() -> None:
    note = pool_note(POOL)
    assert "leads random images by +1.3 points over 3 networks" in note  # (10 - 6 + 0) / 3
    assert "does not beat them on 2 of them: b; c." in note
    assert "It beats them on every one." in pool_note(POOL[:2])
    text = evaluation_markdown(POOL)
    places = [text.index(line) for line in ("| b | 30.0 | 36.0 | -6.0 |", "| c | 30.0 | 30.0 | +0.0 |", "| a | 50.0 |")]
    assert places == sorted(places)  # the worst first
    assert note in text


def few(source: str, steps: int, value: float) -> dict[str, Any]:
    return {"measure": "few_steps", "source": source, "architecture": "convnet", "steps": steps, "accuracy": value}


def ticket(source: str, steps: int | None, value: float) -> dict[str, Any]:
    cost = 0 if steps is None else 800 * steps
    sizes = {"sparsity": 0.9, "rounds": 8, "seed": 0, "image_gradients": cost}
    return {"measure": "mask_quality", "source": source, "steps": steps, "accuracy": value, **sizes}


def test_quality_is_sources_down_and_steps_across() -> None:
    rows = [few("distilled", 10, 0.4), few("real", 10, 0.3), few("distilled", 30, 0.5), few("real", 30, 0.45)]
    rows += [ticket("distilled", 10, 0.6), ticket("distilled", 100, 0.65), ticket("dense", None, 0.7)]
    text = evaluation_markdown(rows)
    assert "| Trained on | 10 steps | 30 steps |" in text
    assert "| distilled | 40.0 | 50.0 |" in text
    assert "| Mask found on | 10 steps a round | 100 steps a round | no search |" in text
    assert "| distilled | 60.0 | 65.0 | - |" in text
    assert "| dense | - | - | 70.0 |" in text
    assert "90.0 % sparsity after 8 rounds" in text
    assert "8 k, 80 k image-gradients" in text


def test_agreement_and_distance_are_read_beside_chance_and_random_images() -> None:
    rows = [
        {
            "measure": "mask_agreement",
            "source": "distilled",
            "sparsity": 0.9,
            "intersection_over_union": 0.25,
            "chance": 0.0625,
            "above_chance": 0.2,
        },
        {
            "measure": "feature_distance",
            "source": "distilled",
            "mean_distance": 0.0123,
            "random_mean_distance": 0.0456,
            "frechet_distance": 1.5,
        },
    ]
    text = evaluation_markdown(rows)
    assert "| distilled | 25.0 | 6.2 | 20.0 |" in text
    assert "| distilled | 0.0123 | 0.0456 | 1.5 |" in text
    assert len(evaluation_sheets(rows)) == 2


def test_nothing_measured_is_no_table() -> None:
    assert evaluation_sheets([]) == []
    assert evaluation_markdown([]) == ""
