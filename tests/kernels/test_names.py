"""Names of kernels: a program may include any headers of its core's folders together, so each name is defined in one of them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from targets.load import load_target, target_names

ROOT = Path(__file__).parents[2] / "firmware" / "kernels"
DEFINED = re.compile(
    r"^(?:STROP_KERNEL|STROP_SHARED|STROP_INLINE|static)[^;{]*?\b(strop_\w+)\s*\(|^\}\s*(strop_\w+);|^#define\s+(STROP_\w+)", re.M
)
FOLDERS = sorted({target.core.kernels for target in map(load_target, target_names()) if target.takes_c})


@pytest.mark.parametrize("folders", FOLDERS)
def test_a_name_is_defined_in_one_header(folders: tuple[str, ...]) -> None:
    headers: dict[str, Path] = {}
    for folder in reversed(folders):
        headers |= {path.name: path for path in (ROOT / folder).glob("*.h")}
    places: dict[str, set[str]] = defaultdict(set)
    for path in headers.values():
        for match in DEFINED.finditer(path.read_text()):
            places[next(filter(None, match.groups()))].add(f"{path.parent.name}/{path.name}")
    assert len(places) > 100
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {}
