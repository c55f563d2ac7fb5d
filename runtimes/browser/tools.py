"""Where Node, Chromium and the npm packages are that a browser run needs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import toolchain
from toolchain.errors import EnvironmentFault

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MODULES_VARIABLE, CHROMIUM_VARIABLE = "STROP_NODE_MODULES", "STROP_CHROMIUM"
NEEDED = ("playwright-core", "@tensorflow/tfjs-core", "@litertjs/core")
HINT = "Run .ci/tools in Strop's folder, which installs what is missing"


@dataclass(frozen=True, slots=True)
class BrowserTools:
    """Paths of the Node and Chromium programs and of the folder `node_modules`."""

    node: Path
    chromium: Path
    modules: Path


def find_browser() -> BrowserTools:
    """What a browser run needs, from PATH, the environment, or build/web beside Strop. Raises EnvironmentFault(403)."""
    node = shutil.which("node")
    if node is None:
        raise EnvironmentFault(403, "node", "Node.js is not installed", HINT)
    chosen = os.environ.get(CHROMIUM_VARIABLE)
    chromium = shutil.which(chosen) if chosen else next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        raise EnvironmentFault(403, chosen or "chromium", "no Chromium was found", f"{HINT}, or set {CHROMIUM_VARIABLE}")
    return BrowserTools(Path(node), Path(chromium), _modules())


def _modules() -> Path:
    given = os.environ.get(MODULES_VARIABLE)
    root = Path(toolchain.__file__).resolve().parents[1]
    places = [Path(given)] if given else [root / "build/web/node_modules", Path.cwd() / "build/web/node_modules"]
    for place in places:
        if all((place / name / "package.json").is_file() for name in NEEDED):
            return place.resolve()
    what = f"npm packages ({', '.join(NEEDED)}) are not in {places[0]}"
    raise EnvironmentFault(403, "node_modules", what, f"{HINT}, or set {MODULES_VARIABLE}")
