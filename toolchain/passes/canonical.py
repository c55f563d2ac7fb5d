"""The order of passes that bring a graph into the form lowering and the backends take."""

from __future__ import annotations

from collections.abc import Callable, Container

from toolchain.ir.graph import Graph
from toolchain.ir.verifier import verify
from toolchain.passes.dead_channels import drop_dead_channels
from toolchain.passes.fuse import fuse
from toolchain.passes.identities import drop_dead, fold_constants, merge_equal, remove_identities
from toolchain.passes.permutations import fold_permutations
from toolchain.passes.recognize import recognize
from toolchain.passes.reshapes import merge_reshapes, settle_transposes
from toolchain.passes.subsample import subsample
from toolchain.passes.transposes import lift_transposes, push_transposes

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    drop_dead,
    fold_constants,
    remove_identities,
    merge_equal,
    recognize,
    push_transposes,
    fold_constants,
    merge_reshapes,
    remove_identities,
    fuse,
    merge_equal,
    push_transposes,
    fuse,
    fold_permutations,
    lift_transposes,
    fuse,
    settle_transposes,
    merge_reshapes,
    remove_identities,
    merge_equal,
    subsample,
    drop_dead_channels,
)


def canonicalize(
    graph: Graph,
    verify_each: bool = True,
    after: Callable[[str, Graph], None] | None = None,
    skip: Container[str] = (),
) -> Graph:
    """The graph after all passes; outputs equal up to float rounding, quantized bytes are the same.

    verify_each: run the verifier after every pass. after: called with each pass's name and result (`--print-after`).
    skip: names of passes that are left out (`--skip`).
    """
    for each in PASSES:
        if each.__name__ in skip:
            continue
        graph = each(graph)
        if verify_each:
            verify(graph)
        if after is not None:
            after(each.__name__, graph)
    return graph
