"""A reshape after a transpose goes before it, or the plan declines."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolchain.passes.regroup import regroup

SIZES = st.sampled_from([1, 1, 2, 3, 4, 6])


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, a permutation, and a shape that splits, joins, adds or drops dimensions of the transposed tensor."""
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=4)))
    perm = tuple(draw(st.permutations(range(len(shape)))))
    sizes = [shape[axis] for axis in perm]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(sizes) - 1))
        kind = draw(st.sampled_from(["one", "join", "split"]))
        if kind == "one":
            sizes.insert(at, 1)
        elif kind == "join" and at + 1 < len(sizes):
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        elif sizes[at] % 2 == 0:
            sizes[at : at + 1] = [2, sizes[at] // 2]
    return shape, perm, tuple(sizes)


@given(cases())
def test_the_plan_moves_elements_alike(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> None:
    shape, perm, target = case
    x = np.arange(math.prod(shape)).reshape(shape)
    plan = regroup(shape, perm, target)
    if plan is not None:
        np.testing.assert_array_equal(x.reshape(plan[0]).transpose(plan[1]), x.transpose(perm).reshape(target))


def test_layouts_that_networks_use() -> None:
    nchw = (0, 3, 1, 2)
    assert regroup((1, 5, 6, 4), nchw, (1, 2, 2, 5, 6)) == ((1, 5, 6, 2, 2), (0, 3, 4, 1, 2))
    assert regroup((1, 5, 6, 4), nchw, (1, 4, 30)) == ((1, 30, 4), (0, 2, 1))
    assert regroup((1, 1, 6, 4), nchw, (1, 4, 6)) == ((1, 6, 4), (0, 2, 1))
    assert regroup((1, 6, 4), (0, 2, 1), (1, 4, 1, 6)) == ((1, 1, 6, 4), (0, 3, 1, 2))


def test_a_flattened_image_cannot_go_before() -> None:
    assert regroup((1, 5, 6, 4), (0, 3, 1, 2), (1, 120)) is None
