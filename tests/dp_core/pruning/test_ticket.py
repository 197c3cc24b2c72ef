from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dp_core.cards import write_card
from dp_core.errors import UserError
from dp_core.files import digest_of_file
from dp_core.pruning import Mask, Scope, Ticket, shuffle_within_layers
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.small import CLASSES, SHAPE, copy_of, random_data, same, small_model, small_spec

FILES = ["card.json", "mask.safetensors", "weights.safetensors"]


def ticket(density: float = 0.3) -> Ticket:
    model = small_model()
    model(random_data().images)  # so that the BatchNorm statistics are those of an early training, not fresh ones
    draw = torch.Generator().manual_seed(0)
    mask = Mask({name: torch.rand(ones.shape, generator=draw) < density for name, ones in Mask.ones(model).items()})
    history = [{"round": 0, "accuracy": 0.5}, {"round": 1, "accuracy": 0.25}]
    return Ticket(small_spec(), SHAPE, CLASSES, copy_of(model), mask, history, {"seed": 3, "source": "random"})


def test_a_ticket_survives_being_saved(tmp_path: Path) -> None:
    saved = ticket()
    saved.save(tmp_path / "tickets" / "a")
    loaded = Ticket.load(tmp_path / "tickets" / "a")
    assert files_in(tmp_path) == FILES
    assert same(dict(loaded.weights), dict(saved.weights))
    assert same(dict(loaded.mask), dict(saved.mask))
    assert (loaded.spec, loaded.input_shape, loaded.classes) == (small_spec(), SHAPE, CLASSES)
    assert (loaded.history, loaded.provenance) == (saved.history, saved.provenance)
    assert same(copy_of(loaded.build()), copy_of(saved.build()))


def test_the_card_says_how_sparse_the_ticket_is_and_digests_the_files(tmp_path: Path) -> None:
    saved = ticket()
    saved.save(tmp_path / "a")
    card = json.loads((tmp_path / "a" / "card.json").read_text(encoding="utf-8"))
    zeros = sum(int((~kept).sum()) for kept in saved.mask.values())
    assert card["sparsity"] == pytest.approx(zeros / 144)
    assert card["sha256"] == {name: digest_of_file(tmp_path / "a" / name) for name in FILES[1:]}


def test_building_gives_the_rewind_weights_with_the_mask_applied() -> None:
    found = ticket()
    model = found.build()
    for name, value in model.state_dict().items():
        kept = found.mask[name] if name in found.mask else torch.ones_like(value, dtype=torch.bool)
        assert torch.equal(value, torch.where(kept, found.weights[name], torch.zeros_like(value)))
    assert int(model.get_buffer("blocks.1.num_batches_tracked")) == 1


def test_building_with_another_mask_and_twice_leaves_the_ticket_alone() -> None:
    found = ticket()
    weights = {name: value.clone() for name, value in found.weights.items()}
    random = shuffle_within_layers(found.mask, torch.Generator().manual_seed(1))
    model = found.build(random)
    linear = model.get_parameter("classifier.weight")
    assert torch.equal(linear != 0, random["classifier.weight"])
    with torch.no_grad():
        linear.add_(1)
    assert same(dict(found.weights), weights)
    assert torch.equal(found.build().get_parameter("classifier.weight") != 0, found.mask["classifier.weight"])
    with pytest.raises(UserError, match="another model"):
        found.build(Mask({"classifier.weight": torch.ones(3, 36).bool()}))


LINEAR = Scope(("class*.weight", "blocks.*"), ("blocks.?.weight",))


def linear_ticket() -> Ticket:
    """Return a ticket whose mask is about the linear layer alone."""
    whole = ticket()
    return replace(whole, mask=Mask({"classifier.weight": whole.mask["classifier.weight"]}), scope=LINEAR)


def rewritten_card(folder: Path, **changes: Any) -> None:
    """Write the card of a ticket again, with its digests; None leaves a key out."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8")) | changes
    content = {key: value for key, value in card.items() if value is not None and "sha256" not in key}
    write_card(folder / "card.json", content, {name: folder / name for name in FILES[1:]})


def test_the_scope_goes_with_the_ticket(tmp_path: Path) -> None:
    saved = linear_ticket()
    saved.save(tmp_path / "a")
    card = json.loads((tmp_path / "a" / "card.json").read_text(encoding="utf-8"))
    assert card["scope"] == {"include": ["class*.weight", "blocks.*"], "exclude": ["blocks.?.weight"]}
    words = "weights that multiply activations named class*.weight or blocks.* but not blocks.?.weight"
    assert card["prunable"] == words
    assert card["sparsity"] == pytest.approx(1 - int(saved.mask["classifier.weight"].sum()) / 108)
    loaded = Ticket.load(tmp_path / "a")
    assert loaded.scope == LINEAR
    weights = copy_of(loaded.build())
    assert torch.equal(weights["blocks.0.weight"], saved.weights["blocks.0.weight"])  # out of scope: as it was, dense
    kept = saved.mask["classifier.weight"]
    assert torch.equal(weights["classifier.weight"], torch.where(kept, saved.weights["classifier.weight"], 0))


def test_a_card_from_before_there_were_scopes_is_about_every_weight(tmp_path: Path) -> None:
    saved = ticket()
    saved.save(tmp_path / "a")
    rewritten_card(tmp_path / "a", scope=None)
    assert "scope" not in json.loads((tmp_path / "a" / "card.json").read_text(encoding="utf-8"))
    loaded = Ticket.load(tmp_path / "a")
    assert loaded.scope == Scope() == saved.scope
    assert same(copy_of(loaded.build()), copy_of(saved.build()))


def test_a_mask_of_another_scope_is_not_built() -> None:
    whole, part = ticket(), linear_ticket()
    for one, other in ((whole, part), (part, whole)):
        with pytest.raises(UserError, match=r"they differ in blocks\.0\.weight"):
            one.build(other.mask)
        with pytest.raises(UserError, match=r"they differ in blocks\.0\.weight"):
            replace(one, mask=other.mask).build()


@pytest.mark.parametrize("scope", [{"includes": ["*"]}, {"include": 3}])
def test_a_scope_that_cannot_be_read_is_the_tickets_fault(tmp_path: Path, scope: Any) -> None:
    ticket().save(tmp_path / "the ticket")
    rewritten_card(tmp_path / "the ticket", scope=scope)
    with pytest.raises(UserError, match="the ticket is not a readable ticket"):
        Ticket.load(tmp_path / "the ticket")


@pytest.mark.parametrize("name", FILES[1:])
def test_an_edited_file_is_named(tmp_path: Path, name: str) -> None:
    ticket().save(tmp_path / "a")
    path = tmp_path / "a" / name
    tensors = load_file(path)
    first = next(iter(tensors))
    tensors[first] = tensors[first] + 1  # a valid file of the same size
    save_file(tensors, path)
    with pytest.raises(UserError, match=rf"{name} does not match the digest in its card"):
        Ticket.load(tmp_path / "a")


@pytest.mark.parametrize("damage", ["missing", "cut", "no digests", "no folder"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_ticket_is_named(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "the ticket"
    ticket().save(folder)
    path = folder / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "no digests":
        (folder / "card.json").write_text("{}")
    else:
        folder = tmp_path / "the ticket of someone else"
    with pytest.raises(UserError, match="the ticket"):
        Ticket.load(folder)


def test_saving_over_a_ticket_replaces_it_whole_and_failing_leaves_the_old_one(tmp_path: Path) -> None:
    ticket(0.3).save(tmp_path / "a")
    sparser = ticket(0.1)
    sparser.save(tmp_path / "a")
    assert Ticket.load(tmp_path / "a").mask.kept == sparser.mask.kept
    broken = Ticket(small_spec(), SHAPE, CLASSES, sparser.weights, sparser.mask, [{"loss": float("nan")}], {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.save(tmp_path / "a")
    assert Ticket.load(tmp_path / "a").history == sparser.history
    assert files_in(tmp_path) == FILES
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
