"""What the command line and everything above is composed from: compile, inspect, verify, run."""

from toolchain.api.compiling import compile
from toolchain.api.inspecting import inspect
from toolchain.api.results import CompileResult, InspectResult, RunOutputs, VerifyResult
from toolchain.api.running import run
from toolchain.api.verifying import verify

__all__ = ["CompileResult", "InspectResult", "RunOutputs", "VerifyResult", "compile", "inspect", "run", "verify"]
