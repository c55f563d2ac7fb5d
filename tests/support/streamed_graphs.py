"""Test support: random graphs of layers on images, programs that run random parts of them row by row, and their host builds."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from firmware.compilers import find_compiler
from targets.load import load_target
from targets.model import Target
from tests.support.kernel_cases import WARNINGS
from toolchain.backends.c.backend import print_c
from toolchain.ir.attrs import Activation, ActivationAttrs, Attrs, AxisAttrs, CastAttrs, ConvAttrs, PoolAttrs, ResizeAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor
from toolchain.lowering.moves import fed
from toolchain.lowering.plan import plan_streamed
from toolchain.lowering.plans import whole_calls
from toolchain.lowering.program import Program
from toolchain.lowering.segments import Slicer, choices_of
from toolchain.lowering.streaming import Edge, Streaming
from toolchain.lowering.streaming import Path as ProgramPath
from toolchain.lowering.views import roots

ACTIVATIONS = tuple(Activation)


class Drawn:
    """A graph while it is drawn: images that may still be read, nodes and weights."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int, int] | None = None) -> None:
        """size: height, width and channels of the input, by chance where None."""
        self.rng = rng
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        found = size or tuple(int(rng.integers(low, high)) for low, high in ((5, 24), (1, 12), (1, 9)))
        self.input = Value("x", TensorType((1, *found), DType.I8, self.quant()))

    def quant(self) -> Quant:
        """Scales near one another, so that little saturates."""
        return per_tensor(float(np.exp(self.rng.uniform(-4, -2))), int(self.rng.integers(-128, 128)))

    def add(self, op: str, inputs: Sequence[Value], attrs: Attrs, quant: Quant | None = None) -> Value:
        """A node of the graph; its result."""
        node = make_node(op, inputs, (f"t{len(self.nodes)}",), attrs, quant)
        self.nodes.append(node)
        return node.output

    def constant(self, shape: Sequence[int], dtype: DType, quant: Quant) -> Value:
        """Random weights or biases."""
        name = f"c{len(self.constants)}"
        limit = 127 if dtype is DType.I8 else 3000
        self.constants[name] = self.rng.integers(-limit, limit, tuple(shape), endpoint=True).astype(dtype.numpy)
        return Value(name, TensorType(tuple(shape), dtype, quant))

    def geometry(self, image: Value, *, keeps_size: bool) -> tuple[tuple[int, int], ConvAttrs]:
        """Kernel, strides, dilations and paddings that suit an image."""
        rng, (_, height, width, _) = self.rng, image.type.shape
        dilation = (int(rng.integers(1, 3)), int(rng.integers(1, 3))) if rng.random() < 0.2 else (1, 1)
        kernel = tuple(
            int(rng.integers(1, max(min(4, (size - 1) // d + 1), 1) + 1))
            for size, d in zip((height, width), dilation, strict=True)
        )
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        top, left = (int(rng.integers(0, r + 1)) for r in reach)
        if keeps_size:
            return (kernel[0], kernel[1]), ConvAttrs((1, 1), (top, reach[0] - top, left, reach[1] - left), dilation)
        bottom, right = (int(rng.integers(0, r + 1)) for r in reach)
        stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        return (kernel[0], kernel[1]), ConvAttrs(stride, (top, bottom, left, right), dilation)

    def convolution(self, image: Value, *, keeps_size: bool, channels: int | None = None) -> Value:
        """A convolution, depthwise or not."""
        rng, depth = self.rng, image.type.shape[3]
        kernel, plain = self.geometry(image, keeps_size=keeps_size)
        attrs = ConvAttrs(plain.stride, plain.padding, plain.dilation, ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))])
        scale = per_tensor(float(np.exp(rng.uniform(-6, -4))), 0)
        if rng.random() < 0.4 and channels in (None, depth):
            weights = self.constant((1, *kernel, depth), DType.I8, scale)
            op, out = "depthwise_conv_2d", depth
        else:
            out = int(rng.integers(1, 10)) if channels is None else channels
            weights = self.constant((out, *kernel, depth), DType.I8, scale)
            op = "conv_2d"
        bias = per_tensor(scale.scale[0] * (image.type.quant or scale).scale[0], 0)
        return self.add(op, (image, weights, self.constant((out,), DType.I32, bias)), attrs, self.quant())

    def layer(self, image: Value) -> Value:
        """One more layer, or a residual block."""
        kind = self.rng.random()
        if kind < 0.45:
            return self.convolution(image, keeps_size=False)
        if kind < 0.6:
            kernel, attrs = self.geometry(image, keeps_size=False)
            padding = tuple(
                min(p, k - 1) for p, k in zip(attrs.padding, (kernel[0], kernel[0], kernel[1], kernel[1]), strict=True)
            )
            pool = PoolAttrs(kernel, attrs.stride, (padding[0], padding[1], padding[2], padding[3]))
            return self.add("max_pool_2d" if self.rng.random() < 0.5 else "average_pool_2d", (image,), pool, image.type.quant)
        if kind < 0.7:
            return self.add("requantize", (image,), CastAttrs(DType.I8), self.quant())
        if kind < 0.85:
            return self.residual(image)
        return self.joined(image) if kind < 0.95 else self.enlarged(image)

    def joined(self, image: Value) -> Value:
        """Branches that keep the size, and maybe the image itself, with rows, columns or channels side by side, in any order."""
        depth, quant, axis = image.type.shape[3], image.type.quant, int(self.rng.integers(1, 4))
        branches = [image] if self.rng.random() < 0.5 else []
        for _ in range(int(self.rng.integers(1, 3))):
            branch = self.convolution(image, keeps_size=True, channels=None if axis == 3 else depth)
            branches.append(self.add("requantize", (branch,), CastAttrs(DType.I8), quant))
        if self.rng.random() < 0.2:
            branches.append(branches[0])
        order = self.rng.permutation(len(branches))
        return self.add("concat", [branches[place] for place in order], AxisAttrs(axis), quant)

    def enlarged(self, image: Value) -> Value:
        """Every pixel several times; half of the time beside a branch that was made smaller before."""
        height, width = image.type.shape[1:3]
        if self.rng.random() < 0.5 and height % 2 == width % 2 == 0:
            pool = PoolAttrs((2, 2), (2, 2))
            small = self.add("max_pool_2d", (image,), pool, image.type.quant)
            deep = self.convolution(small, keeps_size=True)
            large = self.add("resize_nearest", (deep,), ResizeAttrs((height, width)), deep.type.quant)
            large = self.add("requantize", (large,), CastAttrs(DType.I8), image.type.quant)
            return self.add("concat", (large, image), AxisAttrs(3), image.type.quant)
        scale = int(self.rng.integers(2, 4))
        return self.add("resize_nearest", (image,), ResizeAttrs((height * scale, width * scale)), image.type.quant)

    def residual(self, image: Value) -> Value:
        """A branch of layers that keep the size, and the image or another branch, added or multiplied."""
        depth = image.type.shape[3]
        branch = image
        for _ in range(int(self.rng.integers(1, 4))):
            branch = self.convolution(branch, keeps_size=True, channels=depth)
        other = self.convolution(image, keeps_size=True, channels=depth) if self.rng.random() < 0.4 else image
        op = "add" if self.rng.random() < 0.7 else "mul"
        return self.add(op, (other, branch), ActivationAttrs(), self.quant())


def random_graph(seed: int) -> Graph:
    """A graph of layers on images, with branches, strides, odd sizes and paddings; some end in the mean of the image."""
    rng = np.random.default_rng(seed)
    drawn = Drawn(rng)
    image = drawn.input
    for _ in range(int(rng.integers(2, 7))):
        image = drawn.layer(image)
    if rng.random() < 0.4:
        window = (image.type.shape[1], image.type.shape[2])
        image = drawn.add("average_pool_2d", (image,), PoolAttrs(window, window), image.type.quant)
    return Graph("drawn", (drawn.input,), (image,), tuple(drawn.nodes), drawn.constants)


def random_program(graph: Graph, target: Target, seed: int, *, by_rows: bool = False) -> Program:
    """A program of the graph with segments and steps by chance. by_rows: its input comes row by row."""
    rng = np.random.default_rng(seed)
    pushed = graph.inputs[0] if by_rows else None
    graph = fed(graph) if by_rows else graph
    streaming = Streaming(graph, Slicer(graph, target, {}), whole_calls(graph, target, {}), frozenset())
    edges: list[Edge] = []
    while (at := edges[-1].end if edges else 0) < len(graph.nodes):
        ways = [edge for found in streaming.edges for edge in found if edge.first == at]
        streamed = [edge for edge in ways if edge.sliced is not None]
        made = streaming.packed((streamed or ways)[int(rng.integers(len(streamed or ways)))])
        edges.append(made[int(rng.integers(len(made)))])
    path = ProgramPath(tuple(edges))
    calls, plan = plan_streamed(graph, streaming.calls(path), path.buffer_bytes)
    return Program(graph, target, calls, plan, roots(graph), tuple(choices_of(calls)), pushed)


def run_on_host(program: Program, folder: Path, flags: Sequence[str], samples: Sequence[Array]) -> list[Array]:
    """The output of a program with one input and one output for every sample; all warnings are errors."""
    printed = print_c(program, "net", "arena" if program.pushed is None else "rows")
    for path, text in printed.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "main.c").write_text(MAIN if program.pushed is None else ROWS_MAIN)
    compiler = find_compiler(load_target("host"))
    command = [*compiler.command, *compiler.flags, *WARNINGS, "-ffp-contract=off", *flags, "-I.", "-Ic"]
    built = subprocess.run([*command, "c/net.c", "main.c", "-o", "net"], cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[:4000]
    data = b"".join(np.ascontiguousarray(sample).tobytes() for sample in samples)
    done = subprocess.run([str(folder / "net")], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:4000]
    shape = program.graph.outputs[0].type.shape
    return list(np.frombuffer(done.stdout, np.int8).reshape(len(samples), *shape))


MAIN = """#include <stdio.h>
#include <stdlib.h>
#include "c/net.h"
static void *arena; /* static: reachable to the leak checker */
int main(void) {
    arena = aligned_alloc(NET_ARENA_ALIGN, NET_ARENA_BYTES);
    while (fread(net_input_0(arena), 1, NET_INPUT_0_BYTES, stdin) == NET_INPUT_0_BYTES) {
        if (net_run(arena) != 0) return 2;
        fwrite(net_output_0(arena), 1, NET_OUTPUT_0_BYTES, stdout);
    }
    return 0;
}
"""
ROWS_MAIN = """#include <stdio.h>
#include <stdlib.h>
#include "c/net.h"
static void *arena; /* static: reachable to the leak checker */
int main(void) {
    arena = aligned_alloc(NET_ARENA_ALIGN, NET_ARENA_BYTES);
    if (net_init(arena) != 0) return 2;
    for (int left = 0; fread(net_input_0(arena), 1, NET_INPUT_0_ROW_BYTES, stdin) == NET_INPUT_0_ROW_BYTES;) {
        const int before = left == 0 ? NET_INPUT_0_ROWS : left;
        left = net_push_row(arena);
        if (left != before - 1) return 2;
        if (left == 0) fwrite(net_output_0(arena), 1, NET_OUTPUT_0_BYTES, stdout);
    }
    return 0;
}
"""
