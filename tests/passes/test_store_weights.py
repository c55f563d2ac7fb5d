"""Weight-only precisions: which weights are stored how, how near they stay, and that nothing folds them back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from targets.load import load_target
from tests.support.float_graphs import Network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType, f32
from toolchain.lowering.lower import lower
from toolchain.passes.canonical import canonicalize
from toolchain.passes.store_weights import Form, Weights, best_scales, nearest, parse_form, real_of, storable, store_weights
from toolchain.reference.evaluator import run

INT4, INT8, HALF = Form(DType.I4, 32), Form(DType.I8), Form(DType.F16)


def network(seed: int = 0) -> Graph:
    """A convolution, a depthwise one, a pointwise one and a fully connected layer."""
    net, x = Network(seed), Value("x", f32(1, 8, 8, 4))
    y = net.add("conv_2d", [x, *net.weights((24, 3, 3, 4), 36, 0)], at.ConvAttrs((1, 1), (1, 1, 1, 1)))
    y = net.add("depthwise_conv_2d", [y, *net.weights((1, 3, 3, 24), 9, 3)], at.ConvAttrs((2, 2), (1, 1, 1, 1)))
    y = net.add("conv_2d", [y, *net.weights((40, 1, 1, 24), 24, 0)], at.ConvAttrs((1, 1), (0, 0, 0, 0)))
    y = net.fully_connected(y, 10)
    return Graph("net", (x,), (y,), tuple(net.nodes), net.constants)


def conversions(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op in ("dequantize", "cast")]


def weights_of(rows: np.ndarray) -> Weights:
    return Weights(Value("w", f32(*rows.shape)), rows.astype(np.float32), 0)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("float16", HALF),
        ("w8", INT8),
        ("w8:64", Form(DType.I8, 64)),
        ("w4", INT4),
        ("w4:5", Form(DType.I4, 5)),
        *((text, None) for text in ("int8", "auto", "w2", "w4:", "w4:0", "w4:-1", "float16:8", "w4:32 ", "W4")),
    ],
)
def test_names_of_forms(text: str, form: Form | None) -> None:
    assert parse_form(text) == form


def brute_force(row: np.ndarray, low: int, high: int) -> float:
    """The least squared error of any integers and any scale: for all integers the best scale in closed form."""
    best = float(np.square(row).sum())
    for stored in itertools.product(range(low, high + 1), repeat=len(row)):
        q = np.array(stored, np.float64)
        if q.any():
            scale = (q @ row) / (q @ q)
            if scale > 0:
                best = min(best, float(np.square(q * scale - row).sum()))
    return best


def test_int4_is_near_the_best_there_is() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((12, 4))
    weights = weights_of(rows)
    stored = nearest(weights, Form(DType.I4))
    assert stored is not None
    found = np.square(real_of(weights, stored) - weights.rows).sum(axis=1)
    least = np.array([brute_force(row, -8, 7) for row in weights.rows])
    assert (found >= least * (1 - 1e-6)).all()
    assert found.sum() <= 1.3 * least.sum(), found.sum() / least.sum()


def test_all_sixteen_levels_are_used() -> None:
    rows = np.array([np.arange(-8, 8) * 0.25, np.arange(-7, 9) * -0.25])
    stored = nearest(weights_of(rows), Form(DType.I4))
    assert stored is not None
    np.testing.assert_array_equal(real_of(weights_of(rows), stored), rows)
    np.testing.assert_array_equal(stored.data.min(axis=1), [-8, -8])


def test_a_block_has_the_scale_of_its_own_weights() -> None:
    rows = np.array([[0.7, -0.3, 0.1, 700.0, -300.0, 100.0, 0.0]])
    scales = best_scales(rows, Form(DType.I4, 3))
    np.testing.assert_allclose(scales, [[0.1, 100.0, 1.0]], rtol=1e-6)


def test_blocks_of_one_size_and_none_where_one_holds_all() -> None:
    assert [INT4.quant_block(inputs) for inputs in (1, 32, 33, 40, 64, 100)] == [None, None, 17, 20, 32, 25]


@pytest.mark.parametrize(("form", "bits", "worst"), [(HALF, 16, 1e-3), (INT8, 8, 5e-2), (INT4, 4, 4e-1)])
def test_outputs_stay_near_and_flash_shrinks(form: Form, bits: int, worst: float) -> None:
    graph, host = network(), load_target("host")
    stored = store_weights(graph, form)
    assert len(conversions(stored)) == 4
    sample = [np.random.default_rng(1).standard_normal((1, 8, 8, 4)).astype(np.float32)]
    wanted, found = run(graph, sample)[0], run(stored, sample)[0]
    away = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 0 < away < worst
    plain, less = lower(graph, host).weight_bytes, lower(stored, host).weight_bytes
    assert less < plain * (bits / 32 + 0.09), (less, plain)
    assert lower(stored, host).plan.arena_bytes == lower(graph, host).plan.arena_bytes


def test_int4_keeps_int8_where_it_costs_little() -> None:
    graph = network()
    stored = store_weights(graph, INT4)
    kinds = {node.name: node.inputs[0].type.dtype for node in conversions(stored)}
    depthwise = next(node.inputs[1].name for node in graph.nodes if node.op == "depthwise_conv_2d")
    assert kinds[depthwise] is DType.I8
    largest = max(storable(graph).values(), key=lambda each: each.data.size).value.name
    assert kinds[largest] is DType.I4
    sizes = {name: each.rows.shape for name, each in storable(graph).items()}
    spent = sum(INT8.bytes(*sizes[name]) - INT4.bytes(*sizes[name]) for name in kinds if kinds[name] is DType.I8)
    assert spent <= sum(INT4.bytes(*size) for size in sizes.values()) / 8


@pytest.mark.parametrize("form", [INT8, INT4])
def test_canonical_passes_keep_the_form(form: Form) -> None:
    stored = store_weights(network(), form)
    assert conversions(canonicalize(stored)) == conversions(stored)


def test_what_cannot_be_stored_stays() -> None:
    """Weights that something else reads, that are not finite, and that float16 does not reach."""
    net, x = Network(1), Value("x", f32(1, 8))
    shared, bias = net.weights((8, 8), 8, 0)
    y = net.add("fully_connected", [x, shared, bias], at.ActivationAttrs())
    z = net.add("add", [y, shared], at.ActivationAttrs())
    odd = net.constant(np.full((3, 8), np.inf))
    large = net.constant(np.full((3, 8), 1e6))
    ends = [net.add("fully_connected", [z, each], at.ActivationAttrs()) for each in (odd, large)]
    graph = Graph("net", (x,), tuple(ends), tuple(net.nodes), net.constants)
    assert set(storable(graph)) == {large.name}
    assert not conversions(store_weights(graph, HALF))
    assert [node.name for node in conversions(store_weights(graph, INT8))] == [large.name]


def test_layers_that_share_weights_share_them_stored() -> None:
    net, x = Network(2), Value("x", f32(1, 8))
    weights, bias = net.weights((8, 8), 8, 0)
    y = net.add("fully_connected", [x, weights, bias], at.ActivationAttrs())
    z = net.add("fully_connected", [y, weights], at.ActivationAttrs())
    stored = store_weights(Graph("net", (x,), (z,), tuple(net.nodes), net.constants), INT8)
    assert len(conversions(stored)) == 1
    assert lower(stored, load_target("host")).weight_bytes == 64 + 8 * 4 + 8 * 4


def test_a_reader_without_a_kernel_gets_floats() -> None:
    """Real numbers of int4 weights that are an output of the graph are made when the program is: no kernel makes them."""
    stored = store_weights(network(), INT4)
    node = next(node for node in conversions(stored) if node.inputs[0].type.dtype is DType.I4)
    reads = Graph("net", stored.inputs, (*stored.outputs, node.output), stored.nodes, stored.constants)
    program = lower(reads, load_target("host"))
    assert not [call for call in program.calls if call.node.op == "dequantize"]
