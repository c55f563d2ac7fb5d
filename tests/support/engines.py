"""Test support: marks that skip, with a reason, what this machine cannot run."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

from targets.load import load_target

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("qemu-system-riscv32") is None,
    reason="QEMU is not installed (Debian: qemu-system-arm, qemu-system-misc)",
)
needs_unicorn = pytest.mark.skipif(
    importlib.util.find_spec("unicorn") is None, reason="unicorn is not installed (pip install strop[mcu])"
)
needs_arm_gcc = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="the Arm GCC is not installed (Debian: gcc-arm-none-eabi)"
)


def needs_user_mode(*targets: str) -> pytest.MarkDecorator:
    """Skip where QEMU's user mode, or zig, is missing for one of the Linux targets."""
    wanted = sorted({linux.qemu for name in targets if (linux := load_target(name).core.linux) is not None})
    missing = [name for name in wanted if shutil.which(name) is None]
    missing += [] if importlib.util.find_spec("ziglang") else ["ziglang (pip install strop[mcu])"]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (Debian: qemu-user)")
