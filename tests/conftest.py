"""What all tests share: in CI the generated cases are the same at every run; elsewhere they are new ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The example compiled to C for a target with further options, once each."""
    from tests.support.digits import CALIBRATION, MODEL
    from toolchain.api import compile

    folder = tmp_path_factory.mktemp("bundles")

    def bundle(target: str, **more: Any) -> Path:
        path = folder / "-".join([target, *(re.sub(r"\W+", "_", str(value)) for value in more.values())])
        if not path.exists():
            compile(MODEL, target, path, formats=("c",), calibrate=str(CALIBRATION), **more)
        return path

    return bundle
