"""Compiling for real: with torch's Dynamo and autograd but no code generation where that is enough, which is fast."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.kernels import block_library
from dp_core.pruning import Examples, IterativePruning, Mask, PruningPlan
from dp_core.training import Network, Recipe, Training, TrainingData, evaluate
from dp_core.training.compiling import NotCompiled, compiled_network
from tests.dp_core.small import copy_of, random_data, same, small_model, through_a_file

Compiler = Callable[[Any, list[Tensor]], Any]

RECIPE = Recipe(steps=6, batch_size=6, learning_rate=0.05, precision="float32", mode="compiled")
PLAIN = replace(RECIPE, mode="auto")


def with_dropout(seed: int = 0) -> nn.Module:
    """A network with buffers and random numbers of its own, of which the kernels fuse only a part."""
    torch.manual_seed(seed)
    convolutions = nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.GELU(), nn.Conv2d(4, 4, 2)
    return nn.Sequential(*convolutions, nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3))


def half_mask(model: nn.Module) -> Mask:
    draw = torch.Generator().manual_seed(0)
    return Mask({name: torch.rand(kept.shape, generator=draw) < 0.5 for name, kept in Mask.ones(model).items()})


def training(recipe: Recipe = RECIPE, make: Callable[[], nn.Module] = with_dropout, masked: bool = True) -> Training:
    model = make()
    return Training(model, random_data(), recipe, seed=5, mask=half_mask(model) if masked else None)


def compiled_one(model: nn.Module) -> Network | None:
    """Compile for bfloat16, in which the weights' memory changes."""
    images = random_data(6).images
    model.train()
    return compiled_network(model, "bfloat16", images, lambda network: network(images).logsumexp(1).mean())


def compile_with(backend: str | Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile in all but the generated code, with nothing in the caches."""
    block_library()  # from the usual cache, once a process
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.delenv("WINNOW_COMPILE", raising=False)
    compile_with("aot_eager", monkeypatch)
    yield
    torch._dynamo.reset()


def graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def no_forward(graph: Any, inputs: list[Tensor]) -> Any:
    raise RuntimeError("the forward pass cannot be compiled")


def no_backward(graph: Any, inputs: list[Tensor]) -> Any:
    from torch._dynamo.backends.common import aot_autograd

    def refuse(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("the backward pass cannot be compiled")

    return aot_autograd(fw_compiler=lambda graph, inputs: graph, bw_compiler=refuse)(graph, inputs)


def no_memory(graph: Any, inputs: list[Tensor]) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory")


class Counting(nn.Module):
    """One whose code holds for one call only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.calls = with_dropout(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.layers(images) * (1 + 0 * self.calls)
        return logits


class Breaking(nn.Module):
    """One that Dynamo must cut in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = small_model(), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.layers(images)
        torch._dynamo.graph_break()
        logits: Tensor = self.head(hidden)
        return logits


@dataclass(frozen=True)
class Unpruned:
    """A criterion that keeps what there is."""

    image_gradients = 0

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        return mask


def breaking() -> nn.Module:
    torch.manual_seed(0)
    return Breaking()


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (no_forward, "the forward pass cannot be compiled"),
        (no_backward, "the backward pass cannot be compiled"),
        (no_memory, "CUDA out of memory"),
    ],
    ids=["no_forward", "no_backward", "no_memory"],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiler_that_fails_is_told_once_and_leaves_no_trace(
    backend: Compiler,
    reason: str,
    precision: Any,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    compile_with(backend, monkeypatch)
    failing, plain = training(replace(RECIPE, precision=precision)), training(replace(PLAIN, precision=precision))
    layouts = [parameter.stride() for parameter in plain.model.parameters()]
    with pytest.warns(NotCompiled) as told:
        losses = [failing.run(1) for _ in range(6)]
    (sentence,) = [str(warning.message) for warning in told]
    assert sentence.startswith("torch.compile fails: ")
    assert sentence.endswith(f"{reason}. The network is executed without it.")
    assert losses == [plain.run(1) for _ in range(6)]
    assert failing.network.mode == plain.network.mode != "compiled"
    assert same(failing.state_dict(), plain.state_dict())
    assert [parameter.stride() for parameter in failing.model.parameters()] == layouts
    assert capfd.readouterr() == ("", "")


def test_code_that_does_not_serve_again_is_not_used(quick: None) -> None:
    failing, plain = training(make=Counting, masked=False), training(PLAIN, Counting, masked=False)
    with pytest.warns(NotCompiled):
        assert failing.run() == plain.run()
    assert failing.network.mode != "compiled"
    assert same(failing.state_dict(), plain.state_dict())


def test_a_model_that_compiles_in_pieces_trains(quick: None) -> None:
    made, pieces, plain = graphs(), training(make=breaking, masked=False), training(PLAIN, breaking, masked=False)
    assert pieces.run() == pytest.approx(plain.run(), rel=1e-4)
    assert (pieces.network.mode, graphs() - made) == ("compiled", 2)
    torch.testing.assert_close(copy_of(pieces.model), copy_of(plain.model), rtol=1e-4, atol=1e-5)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Check that nothing about the model, nor torch's random numbers, is other than before."""
    kept = torch.ones(3, 64)
    model.get_parameter("6.weight").grad = kept
    before, random = copy_of(model), torch.get_rng_state()
    buffers = [id(buffer) for buffer in model.buffers()]
    yield
    assert same(copy_of(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert [id(buffer) for buffer in model.buffers()] == buffers
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == ["6.weight"]
    assert model.get_parameter("6.weight").grad is kept
    assert (kept == 1).all()


def test_a_warm_up_disturbs_nothing(quick: None) -> None:
    model = with_dropout()
    with undisturbed(model):
        network = compiled_one(model)
    assert network is not None
    assert network.mode == "compiled"


def test_neither_does_one_that_fails(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_with(no_backward, monkeypatch)
    model = with_dropout()
    memory = [parameter.data_ptr() for parameter in model.parameters()]
    with undisturbed(model), pytest.warns(NotCompiled, match="the backward pass cannot"):
        assert compiled_one(model) is None
    assert [parameter.data_ptr() for parameter in model.parameters()] == memory


def test_compiling_can_be_turned_off(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_COMPILE", "0")
    off, plain, made = training(), training(PLAIN), graphs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who turned it off need not be told
        assert off.run() == plain.run()
    assert graphs() == made
    assert same(off.state_dict(), plain.state_dict())


def test_a_compiled_training_is_the_same_up_to_rounding(quick: None) -> None:
    compiled, plain = training(make=small_model), training(replace(RECIPE, mode="eager"), small_model)
    assert [compiled.run(1) for _ in range(6)] == pytest.approx([plain.run(1) for _ in range(6)], rel=1e-4)
    assert (compiled.network.mode, plain.network.mode) == ("compiled", "eager")
    torch.testing.assert_close(copy_of(compiled.model), copy_of(plain.model), rtol=1e-4, atol=1e-5)


def test_a_compiled_training_repeats_and_resumes_bit_for_bit(quick: None) -> None:
    whole, again = training(), training()
    losses = [whole.run(1) for _ in range(6)]
    assert whole.network.mode == "compiled"
    assert losses == [again.run(1) for _ in range(6)]
    assert same(again.state_dict(), whole.state_dict())

    first = training()
    first.run(3)
    for recipe in (RECIPE, PLAIN):  # the state knows the mode
        second = training(recipe)
        second.load_state_dict(through_a_file(first.state_dict()))
        assert [second.run(1) for _ in range(3)] == losses[3:]
        assert second.network.mode == "compiled"
        assert same(second.state_dict(), whole.state_dict())


def test_masked_weights_stay_zero_in_a_compiled_training(quick: None) -> None:
    masked = training()
    mask = half_mask(masked.model)
    for _ in range(6):
        masked.run(1)
        assert all((masked.model.get_parameter(name)[~kept] == 0).all() for name, kept in mask.items())
    assert masked.network.mode == "compiled"


def test_other_shapes_and_evaluation_compile_nothing(quick: None) -> None:
    compiled = training()
    compiled.run(2)
    made, model, data = graphs(), compiled.model, random_data()
    accuracy = evaluate(model, TrainingData(data.images, data.labels))
    assert accuracy == evaluate(model, TrainingData(data.images, data.labels))
    model.eval()
    compiled.network.train(False)
    with torch.no_grad():
        torch.testing.assert_close(compiled.network(data.images[:5]), model(data.images[:5]))
    model.train()
    compiled.network.train()
    compiled.network(data.images[:3]).sum().backward()  # as where a batch was split
    assert graphs() == made
    compiled.run(2)
    assert graphs() == made


def test_one_structure_is_compiled_once_a_process(quick: None) -> None:
    recipe = replace(RECIPE, steps=3)
    plan = PruningPlan((0.0, 0.3, 0.5), Unpruned(), recipe)
    pruning, start = IterativePruning(with_dropout(), random_data(), plan, seed=0), graphs()
    pruning.run_round()
    made = graphs()
    assert made > start
    pruning.run_round()
    other = training(make=lambda: with_dropout(seed=3))
    other.run()
    assert other.network.mode == "compiled"
    assert graphs() == made


def test_auto_compiles_nothing_however_long_the_training(quick: None) -> None:
    long = Recipe(steps=10**7, batch_size=6, precision="float32", schedule="constant")
    auto, fused, made = training(long), training(replace(long, mode="fused")), graphs()
    assert auto.run(3) == fused.run(3)
    assert graphs() == made
    assert same(auto.state_dict(), fused.state_dict())


def test_states_of_older_versions_go_on(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until 0.1.0 `auto` was open until the first step, which might turn it into `compiled`."""
    start, plain = training(PLAIN), training(PLAIN)
    start.load_state_dict({**start.state_dict(), "mode": "auto"})
    assert start.run() == plain.run()
    assert same(start.state_dict(), plain.state_dict())

    turned = training(make=small_model)
    turned.run(3)
    state = through_a_file(turned.state_dict())
    assert state["mode"] == "compiled"
    compile_with(no_forward, monkeypatch)
    elsewhere = training(PLAIN, small_model)
    elsewhere.load_state_dict(state)
    with pytest.warns(NotCompiled):
        loss = elsewhere.run()
    assert elsewhere.network.mode == training(PLAIN, small_model).network.mode
    assert loss == pytest.approx(turned.run(), rel=1e-4)


SCRIPT = """
import json, os, torch
from pathlib import Path
from torch import nn
from dp_core.training import Recipe, Training, TrainingData

torch.set_num_threads(1)
draw = torch.Generator().manual_seed(0)
data = TrainingData(torch.randn(12, 1, 6, 6, generator=draw), torch.arange(12) % 3)

def train(mode):
    torch.manual_seed(1)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    recipe = Recipe(steps=4, batch_size=6, mode=mode, precision="float32")
    training = Training(nn.Sequential(*layers), data, recipe, seed=2, mask=None)
    return training.network.mode, [training.run(1).hex() for _ in range(4)], training.network.mode

plain, losses, used = train("compiled")
again = train("compiled")[1]
eager = train("eager")[1]
from torch._dynamo.utils import counters
children = [line for status in Path("/proc").glob("[0-9]*/status") for line in status.read_text().splitlines()
            if line == f"PPid:\\t{os.getpid()}"]
print(json.dumps({
    "plain": plain, "used": used, "losses": losses, "again": again, "eager": eager, "children": len(children),
    "hits": counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"],
    "misses": counters["inductor"]["fxgraph_cache_miss"],
}))
"""


def in_a_process(cache: Path, **environment: str) -> dict[str, Any]:
    """Return what `SCRIPT` prints, which is nothing else, and as `told` what stands in the error stream."""
    dropped = ("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS", "TORCH_LOGS", "WINNOW_COMPILE")
    inherited = {key: value for key, value in os.environ.items() if key not in dropped}
    settings = {"WINNOW_CACHE": str(cache), "WINNOW_KERNELS": "0", "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env={**inherited, **settings, **environment}
    )
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout)
    return found | {"told": process.stderr}


def test_processes_share_compiled_code_and_get_the_same_bits(tmp_path: Path) -> None:
    first = in_a_process(tmp_path)
    assert (first["plain"], first["used"]) == ("eager", "compiled")
    assert first["again"] == first["losses"]
    assert first["misses"] > 0
    code = {path: path.stat().st_mtime for path in (tmp_path / "winnow" / "inductor").rglob("*.so")}
    assert code

    second = in_a_process(tmp_path)
    assert (second["used"], second["misses"], second["losses"]) == ("compiled", 0, first["losses"])
    assert second["hits"] > 0
    assert {path: path.stat().st_mtime for path in (tmp_path / "winnow" / "inductor").rglob("*.so")} == code
    assert first["children"] == second["children"] == 0
    assert first["told"] == second["told"] == ""


def test_a_machine_without_a_compiler_says_so_and_trains_as_if_nothing_had_been_asked(tmp_path: Path) -> None:
    found = in_a_process(tmp_path, CXX="/nonexistent/c++")
    assert found["used"] == "eager"
    assert found["losses"] == found["eager"]
    assert found["told"].count("NotCompiled: torch.compile fails: ") == 2  # trainings
