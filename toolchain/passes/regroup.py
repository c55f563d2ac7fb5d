"""How a reshape after a transpose can go before it."""

from __future__ import annotations

from toolchain.passes.reshapes import inverse, is_free

Plan = tuple[tuple[int, ...], tuple[int, ...]]


def regroup(shape: tuple[int, ...], perm: tuple[int, ...], target: tuple[int, ...]) -> Plan | None:
    """A shape and a permutation with reshape(transpose(x, perm), target) = transpose(reshape(x, shape), permutation).

    shape: of x. None where the reshape joins dimensions that do not lie together in x, in that order. Dimensions of size
    1 go before the dimension that follows them; leading ones stay in front.
    """
    if 0 in shape or is_free(shape, perm):
        return (target, tuple(range(len(target)))) if 0 not in shape else None
    moved = [axis for axis in perm if shape[axis] != 1]
    groups = _groups([shape[axis] for axis in moved], [size for size in target if size != 1])
    order = {axis: rank for rank, axis in enumerate(sorted(moved))}
    sources: list[int] = []
    for old, _ in groups:
        ranks = [order[axis] for axis in moved[old[0] : old[1]]]
        if ranks != list(range(ranks[0], ranks[0] + len(ranks))):
            return None
        sources.append(ranks[0])
    blocks = _blocks(target, [new for _, new in groups])
    placed = [0, *(1 + i for i in sorted(range(len(groups)), key=lambda i: sources[i]))]
    dims = [dim for block in placed for dim in blocks[block]]
    return tuple(target[dim] for dim in dims), inverse(tuple(dims))


def _groups(old: list[int], new: list[int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The smallest runs of old and new sizes with equal products, as ranges of indices; no size is 1 or 0."""
    found: list[tuple[tuple[int, int], tuple[int, int]]] = []
    i = j = 0
    while i < len(old):
        start = (i, j)
        left, right = old[i], new[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        found.append(((start[0], i), (start[1], j)))
    return found


def _blocks(target: tuple[int, ...], runs: list[tuple[int, int]]) -> list[list[int]]:
    """Dimensions of the target by run: first the leading ones of size 1, then each run with the ones of size 1 before it."""
    real = [dim for dim, size in enumerate(target) if size != 1]
    blocks = [list(range(real[0]))]
    begin = real[0]
    for _, last in runs:
        end = real[last - 1] + 1
        blocks.append(list(range(begin, end)))
        begin = end
    blocks[-1].extend(range(begin, len(target)))
    return blocks
