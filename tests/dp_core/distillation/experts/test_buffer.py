from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.func import functional_call

from dp_core import cards
from dp_core.cards import write_card
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation.experts import ExpertBuffer, ExpertPlan, train_experts
from dp_core.errors import UserError
from dp_core.files import digest_of_file
from dp_core.models import build
from tests.dp_core.distillation.experts.small_experts import OTHER, SMALL, SPACE, contents, small_plan, source
from tests.dp_core.small import random_dataset, same

PLAN = small_plan(models=(SMALL, OTHER))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_experts(PLAN, source(), SPACE, tmp_path_factory.mktemp("experts") / "buffer").folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy to do harm to."""
    return Path(shutil.copytree(made, tmp_path / "buffer"))


def test_a_buffer_says_what_it_has(made: Path) -> None:
    buffer = ExpertBuffer.open(made)
    assert (len(buffer), buffer.epochs) == (2, 3)
    assert [buffer.spec(expert).to_dict() for expert in range(2)] == [SMALL, OTHER]
    assert buffer.identity == PLAN.identity(source(), SPACE)
    assert len(ExpertBuffer.open(made, experts=1)) == 1


def test_parameters_fit_the_network_and_statistics_are_not_among_them(made: Path) -> None:
    buffer = ExpertBuffer.open(made)
    for expert in range(2):
        model = build(buffer.spec(expert), (1, 6, 6), 3, seed=0)
        found = buffer.parameters(expert, 3)
        assert list(found) == [name for name, _ in model.named_parameters()]
        assert functional_call(model.train(), found, (torch.zeros(5, 1, 6, 6),)).shape == (5, 3)
    with_norm = build(buffer.spec(0), (1, 6, 6), 3)
    assert len(with_norm.state_dict()) == len(buffer.parameters(0, 3)) + 3  # batch norm's mean, variance and count


def test_epoch_0_is_the_initialisation(made: Path) -> None:
    buffer = ExpertBuffer.open(made)
    for expert in range(2):
        model = build(PLAN.spec(expert), (1, 6, 6), 3, seed=PLAN.seed_of(expert, "initial weights"))
        assert same(buffer.parameters(expert, 0), {name: value.data for name, value in model.named_parameters()})


def test_the_file_opens_with_plain_safetensors_epoch_after_epoch(made: Path) -> None:
    path = made / "expert_001" / "trajectory.safetensors"
    assert same(
        {name: value for name, value in load_file(path).items() if name.startswith("epoch_002.")},
        {f"epoch_002.{name}": value for name, value in ExpertBuffer.open(made).parameters(1, 2).items()},
    )
    with safe_open(path, framework="pt") as file:
        epochs = [name.partition(".")[0] for name in file.offset_keys()]
    assert epochs == sorted(epochs)


def test_what_is_read_is_the_callers_own(made: Path) -> None:
    buffer = ExpertBuffer.open(made)
    for value in buffer.parameters(0, 1).values():
        value.zero_()
    assert all(bool(value.any()) for value in ExpertBuffer.open(made).parameters(0, 1).values())
    assert same(contents(buffer), contents(ExpertBuffer.open(made)))


def test_bfloat16_takes_half_the_room_and_rounds_to_nearest(made: Path, tmp_path: Path) -> None:
    plan = small_plan(models=(SMALL, OTHER), storage="bfloat16")
    halved = train_experts(plan, source(), SPACE, tmp_path / "halved")
    for whole, half in zip(contents(ExpertBuffer.open(made)), contents(halved), strict=True):
        assert same(half, [{name: value.bfloat16().float() for name, value in state.items()} for state in whole])
    sizes = [sum(len(v) for v in _data(folder)) for folder in (made, halved.folder)]
    assert sizes[0] == 2 * sizes[1]


def _data(folder: Path) -> list[bytes]:
    """Return what follows the headers, whose length the first eight bytes say."""
    files = [path.read_bytes() for path in folder.rglob("*.safetensors")]
    return [content[8 + int.from_bytes(content[:8], "little") :] for content in files]


def test_a_buffer_of_something_else_says_of_what(made: Path) -> None:
    def opening(plan: ExpertPlan = PLAN, seed: int = 0, std: float = 0.25) -> str:
        with pytest.raises(UserError) as caught:
            ExpertBuffer.open(made, plan.identity(random_dataset(seed=seed), Standardisation((0.4,), (std,))))
        return str(caught.value)

    assert opening(seed=1) == f"The expert trajectories in {made} are of another data set."
    assert "are in another space" in opening(std=0.3)
    assert opening(small_plan(models=(SMALL,))).endswith(
        "are of other networks: convnet depth=1 batch width=4, convnet depth=1 none width=6, "
        "not convnet depth=1 batch width=4."
    )
    fast = small_plan(models=(SMALL, OTHER), learning_rate=0.1)
    assert opening(fast).endswith("are of another plan: learning_rate is 0.01, not 0.1.")
    with pytest.raises(UserError, match="another plan"):
        train_experts(fast, source(), SPACE, made)


def test_indices_that_do_not_exist_are_refused(made: Path) -> None:
    buffer = ExpertBuffer.open(made)
    for expert, epoch, words in ((2, 0, "expert 2"), (-1, 0, "expert -1"), (0, 4, "epoch 4"), (0, -1, "epoch -1")):
        with pytest.raises(IndexError, match=words):
            buffer.parameters(expert, epoch)
    with pytest.raises(IndexError, match="expert 2"):
        buffer.spec(2)


@pytest.mark.parametrize("kept_bytes", [0, 4, 100, -1])
def test_a_truncated_expert_is_named_when_the_buffer_is_opened(folder: Path, kept_bytes: int) -> None:
    path = folder / "expert_001" / "trajectory.safetensors"
    path.write_bytes(path.read_bytes()[:kept_bytes])
    remedy = rf"{path} is not a readable trajectory: .*; remove {path.parent} to have this expert trained again\.$"
    with pytest.raises(UserError, match=remedy):
        ExpertBuffer.open(folder)
    with pytest.raises(UserError, match=remedy):
        train_experts(small_plan(experts=3, models=PLAN.models), source(), SPACE, folder)
    assert not (folder / "expert_002").exists()
    shutil.rmtree(path.parent)
    assert len(train_experts(PLAN, source(), SPACE, folder)) == 2


@pytest.mark.parametrize("name", ["trajectory.safetensors", "card.json"])
def test_an_edited_expert_is_named_when_it_is_first_used(folder: Path, name: str) -> None:
    path = folder / "expert_001" / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"4", b"5", 1) if name == "card.json" else content[:-1] + bytes([content[-1] ^ 1]))
    buffer = ExpertBuffer.open(folder)
    buffer.parameters(0, 3)
    for _ in range(2):  # it stays refused
        with pytest.raises(UserError, match=rf"{path} does not match .*; remove {path.parent} to have this"):
            buffer.parameters(1, 0)


def test_an_expert_is_compared_with_its_digest_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return digest_of_file(path)

    monkeypatch.setattr(cards, "digest_of_file", counting)
    buffer = ExpertBuffer.open(folder)
    assert read == []
    for epoch in (0, 2, 3):
        buffer.parameters(1, epoch)
    assert read == [folder / "expert_001" / "trajectory.safetensors"]


def test_an_expert_in_the_place_of_another_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "expert_001")
    shutil.copytree(folder / "expert_000", folder / "expert_001")
    with pytest.raises(UserError, match=r"expert_001 is not expert 1 of this buffer; remove it"):
        ExpertBuffer.open(folder).parameters(1, 0)


def test_a_file_cut_short_after_it_was_verified_is_still_a_clear_error(folder: Path) -> None:
    buffer = ExpertBuffer.open(folder)
    buffer.parameters(0, 0)
    path = folder / "expert_000" / "trajectory.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is not a readable trajectory"):
        buffer.parameters(0, 0)


def test_what_is_not_a_buffer_or_lacks_experts_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"card\.json is not the readable card of a buffer"):
        ExpertBuffer.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no expert 2, of 3 that are needed"):
        ExpertBuffer.open(folder, experts=3)
    shutil.rmtree(folder / "expert_000")
    with pytest.raises(UserError, match="has no expert 0"):
        ExpertBuffer.open(folder)
    card = json.loads((folder / "card.json").read_text())
    card["identity"]["learning_rate"] = 0.5
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="does not match its own digest"):
        ExpertBuffer.open(folder)
    (tmp_path / "other").mkdir()
    write_card(tmp_path / "other" / "card.json", {"identity": {"format": 0}}, {})
    with pytest.raises(UserError, match="not the card of a buffer of expert trajectories in format 1"):
        ExpertBuffer.open(tmp_path / "other")
