"""What the command line and everything above is composed from: compile, inspect, verify, run."""

from toolchain.api.compiling import compile
from toolchain.api.inspecting import inspect
from toolchain.api.results import CompileResult, InspectResult, VerifyResult
from toolchain.api.verifying import verify

__all__ = ["CompileResult", "InspectResult", "VerifyResult", "compile", "inspect", "verify"]
