"""How layers are laid out for the SIMD kernels of Linux boards: which are taken, their bands, channels that never change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from targets.load import load_target
from tests.support.kernel_cases import Place, check_cases, make_case, merged, value
from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array, DType, Quant, per_tensor
from toolchain.lowering.kernels import conv_simd
from toolchain.lowering.kernels.simd_plan import BAND_BYTES, SLACK_BYTES, Window, band_of, scales_of
from toolchain.lowering.variants import candidates

X86, A53 = load_target("x86_64_linux"), load_target("raspberry_pi_zero_2w")


def dense(weights: Array, scales: tuple[float, ...], bias: tuple[int, ...], zero: int = 0) -> tuple[Graph, Node]:
    """A graph of one fully connected layer on inputs of scale 1, outputs of scale 1."""
    x = value("x", (1, weights.shape[1]), DType.I8, per_tensor(1.0, zero))
    w = value("w", weights.shape, DType.I8, Quant(scales, (0,) * len(scales), 0))
    b = value("b", (len(bias),), DType.I32)
    constants = {"w": weights, "b": np.array(bias, np.int32)}
    case = make_case(np.random.default_rng(0), "fully_connected", [x, w, b], ActivationAttrs(), per_tensor(1.0, 0), constants)
    graph = merged([case])
    return graph, graph.nodes[0]


def names(graph: Graph, node: Node, target: object) -> set[str]:
    return {variant.folder for variant in candidates(graph, node, target)}  # type: ignore[arg-type]


def test_channels_of_one_output_are_four_times_that_and_a_quarter() -> None:
    """A bias near the end of 32 bits under a tiny scale, as dead channels of real networks have, and a live one."""
    graph, node = dense(np.array([[0, 0], [3, -4]], np.int8), (2.0**-28, 2.0**-3), (-(2**30), 40))
    found = scales_of(graph, node)
    assert found is not None
    assert found.rows.tolist() == [[-16, 1 << 30, 1], [40, 1 << 30, 2]]
    assert found.live.tolist() == [False, True]


@pytest.mark.parametrize(
    ("scale", "bias", "why"),
    [(4.0, 0, "shifts left"), (2.0**-25, 2**28, "no room for rounding"), (2.0**-3, 2**30, "no room beside a sum")],
)
def test_layers_without_room_go_to_other_kernels(scale: float, bias: int, why: str) -> None:
    graph, node = dense(np.array([[100] * 2000], np.int8), (scale,), (bias,))
    assert scales_of(graph, node) is None, why
    assert names(graph, node, X86) == {"portable"}


def test_neon_leaves_pairs_whose_products_leave_16_bits() -> None:
    """Taps k and k + 4 of the same eight are added in 16 bits: -128 in both is too much, in neighbours it is not."""
    weights = np.zeros((1, 16), np.int8)
    weights[0, [1, 4]] = -128
    assert "neon" in names(*dense(weights, (2.0**-9,), (0,)), A53)
    weights[0, 5] = -128
    assert names(*dense(weights, (2.0**-9,), (0,)), A53) == {"portable"}
    assert "x86_64" in names(*dense(weights, (2.0**-9,), (0,)), X86)


@pytest.mark.parametrize(
    "window",
    [
        Window(1, 1, 3000, 64, 1, 3000, 8, (1, 1), (0, 0), (1, 1)),
        Window(1, 60, 60, 16, 60, 60, 16, (1, 1), (1, 1), (3, 3)),
        Window(1, 9, 5000, 8, 4, 2500, 16, (2, 2), (0, 0), (3, 3)),
        Window(1, 1, 40, 40_000, 1, 40, 8, (1, 1), (0, 0), (1, 1)),
    ],
)
def test_bands_are_even_and_fit_the_cache(window: Window) -> None:
    band = band_of(window)
    assert band.rows == 1 or band.cols == window.out_w
    parts = -(-window.out_h // band.rows), -(-window.out_w // band.cols)
    assert parts[0] * band.rows - window.out_h < parts[0]
    assert parts[1] * band.cols - window.out_w < 16 * parts[1]
    table = -(-4 * band.rows * band.cols // 64) * 64
    wide = (band.cols - 1) * window.stride[1] + window.span[1]
    high = (band.rows - 1) * window.stride[0] + window.span[0]
    assert band.bytes == table + wide * high * window.in_c + SLACK_BYTES
    assert wide * high * window.in_c <= BAND_BYTES or band.cols == 16


def test_biases_take_the_offset_of_unsigned_activations_back() -> None:
    graph, node = dense(np.array([[1, 2, 3, 4, 5]], np.int8), (2.0**-3,), (7,), zero=-10)
    layer, scales = conv_simd.layer_of(graph, node), scales_of(graph, node)
    assert scales is not None
    signed, unsigned = (conv_simd.pack_stream(layer, scales, offset).view(np.int32) for offset in (0, 128))
    assert signed[0] == 7 + 10 * 15
    assert unsigned[0] == 7 + 10 * 15 - 128 * 15
    assert signed[48:].view(np.int8).reshape(2, 16, 4)[:, 0].tolist() == [[1, 2, 3, 4], [5, 0, 0, 0]]
    np.testing.assert_array_equal(signed[16:], unsigned[16:])


@pytest.mark.parametrize("ratio", [1.0, 0.999_9, 0.7, 2.0**-6, 2.0**-17])
@pytest.mark.parametrize(("act", "scale"), [(Activation.NONE, 0.08), (Activation.RELU, 0.08), (Activation.NONE, 0.05 / 2**18)])
def test_every_pair_of_values_of_a_sum(ratio: float, act: Activation, scale: float, tmp_path: Path) -> None:
    """All 65,536 pairs, by kernels that take a mantissa apart; the small output scale shows the last bits of the sum."""
    if " avx2 " not in (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""):
        pytest.skip("this processor has no avx2")
    a = value("a", (256, 256), DType.I8, per_tensor(0.05, -7))
    b = value("b", (256, 256), DType.I8, per_tensor(0.05 * ratio, 99))
    case = make_case(np.random.default_rng(0), "add", [a, b], ActivationAttrs(act), per_tensor(scale, 5))
    rows, columns = np.meshgrid(np.arange(-128, 128, dtype=np.int8), np.arange(-128, 128, dtype=np.int8))
    whole = type(case)(case.node, ((rows, columns),), {})
    place = Place("x86_64_linux", ("gcc", *X86.core.gcc_flags))
    assert check_cases([whole], tmp_path, ("-O2", "-fno-strict-aliasing"), place) == ["x86_64.add_simd"]


def test_padding_that_reaches_beyond_the_filter(tmp_path: Path) -> None:
    """Whole outputs in the padding, where the band has nothing of the image."""
    if " avx2 " not in (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""):
        pytest.skip("this processor has no avx2")
    rng = np.random.default_rng(4)
    x = value("x", (2, 2, 3, 5), DType.I8, per_tensor(0.1, 17))
    w = value("w", (9, 2, 2, 5), DType.I8, per_tensor(0.01))
    attrs = ConvAttrs((1, 1), (4, 5, 6, 4), (1, 1), Activation.NONE)
    weights = rng.integers(-127, 128, w.type.shape).astype(np.int8)
    case = make_case(rng, "conv_2d", [x, w], attrs, per_tensor(0.05, -3), {"w": weights})
    assert check_cases([case], tmp_path, ("-O2",), Place("x86_64_linux", ("gcc", *X86.core.gcc_flags))) == ["x86_64.conv_2d_simd"]
