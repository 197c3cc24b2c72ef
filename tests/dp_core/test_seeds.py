from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.seeds import derive_seed, generator

purposes = st.lists(st.one_of(st.integers(-5, 5), st.text(alphabet="ab/0:", max_size=3)), max_size=3)


def test_a_derived_seed_never_changes() -> None:
    # What coreutils say to: printf 7/str:weights/int:3 | b2sum -l 64, without the last bit.
    assert derive_seed(7, "weights", 3) == 0x4F3D41FC3D75FC6B >> 1
    assert derive_seed(0) == 0x842B7D9D43CDDF75 >> 1  # printf 0 | b2sum -l 64


@given(st.integers(0, 2**64), purposes)
def test_seeds_are_in_the_range_that_torch_takes(seed: int, purpose: list[str | int]) -> None:
    derived = derive_seed(seed, *purpose)
    assert 0 <= derived < 2**63
    assert torch.Generator().manual_seed(derived).initial_seed() == derived


@given(st.tuples(st.integers(0, 9), purposes), st.tuples(st.integers(0, 9), purposes))
def test_different_seeds_or_purposes_give_different_seeds(
    one: tuple[int, list[str | int]], other: tuple[int, list[str | int]]
) -> None:
    assert (derive_seed(one[0], *one[1]) == derive_seed(other[0], *other[1])) == (one == other)


def test_a_number_and_its_text_are_different_purposes() -> None:
    assert derive_seed(0, 1) != derive_seed(0, "1")


def test_generators_repeat_and_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    first = torch.rand(8, generator=generator(3, "a"))
    assert torch.equal(first, torch.rand(8, generator=generator(3, "a")))
    assert not torch.equal(first, torch.rand(8, generator=generator(3, "b")))
    assert torch.equal(torch.get_rng_state(), before)
