"""The debugger against hand-worked counts, and against networks with one layer spoilt on purpose."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from calibration.calibrate import calibrate, observed_values
from calibration.debugger.diagnose import diagnose
from calibration.debugger.findings import Diagnosis, LayerFinding, Remedy
from calibration.debugger.patches import tied, with_range
from calibration.debugger.remedies import cure_of
from calibration.debugger.tally import Tally
from calibration.losses import output_losses
from calibration.prepare import Recipe, quantize_with
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from tests.support.float_graphs import Network, images, random_network
from toolchain.bundle.manifest import RangeChoice, SeenValues
from toolchain.errors import DataError
from toolchain.ir import attrs as at
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import dequantize_array, quant_of, quantize_array
from toolchain.ir.types import Array, f32, i8, per_tensor
from toolchain.passes.canonical import canonicalize
from toolchain.passes.evened import evened_factors, kept_channels, signed_factors, with_factors
from toolchain.passes.quantize import INT16X8, quantize
from toolchain.passes.split_layers import split_layers
from toolchain.reference.evaluator import evaluate, run


def silent(stage: str, done: int, total: int) -> None:
    assert done >= 0 and stage


def classifier() -> Graph:
    """Three convolutions, a pool and four probabilities."""
    net, x = Network(3), Value("x", f32(1, 8, 8, 2))
    y = x
    for channels in (6, 5, 4):
        weights = net.weights((channels, 3, 3, y.type.shape[3]), 9 * y.type.shape[3], 0)
        y = net.add("conv_2d", [y, *weights], at.ConvAttrs(padding=(1, 1, 1, 1), activation=at.Activation.RELU))
    y = net.add("average_pool_2d", [y], at.PoolAttrs((2, 2), (2, 2)))
    return Graph("net", (x,), (net.add("softmax", [net.fully_connected(y, 4)]),), tuple(net.nodes), net.constants)


def spoilt(graph: Graph, samples: list[tuple[Array, ...]], victim: str, share: float = 0.05) -> Graph:
    """The integer graph with the range of one value, and of those that have it from there, far too narrow."""
    table = calibrate(graph, samples, lambda s: evaluate(graph, s, observed_values(graph)), parse_method("minmax"))
    names = {victim}
    for node in graph.nodes:
        if node.op in ("average_pool_2d", "reshape") and node.inputs[0].name in names:
            names.add(node.output.name)
    rows = [(name, table.ranges[name]) for name in names]
    cut = {name: replace(row, low=row.low * share, high=row.high * share) for name, row in rows}
    return quantize(graph, CalibrationTable("cut", len(samples), {**table.ranges, **cut}))


def looked_at(
    quantized: Graph, real: Graph, samples: list[tuple[Array, ...]], choices: tuple[RangeChoice, ...] = ()
) -> Diagnosis:
    return diagnose(quantized, real, samples, len(samples), float_executor, {}, choices, silent)


def by_name(found: Diagnosis) -> dict[str, LayerFinding]:
    return {layer.name: layer for layer in found.layers}


def output_loss(graph: Graph, real: Graph, samples: list[tuple[Array, ...]]) -> float:
    """The loss by running every sample alone, the whole network."""
    losses = []
    for sample in samples:
        stored = [quantize_array(a, v.type.dtype, quant_of(v.type)) for a, v in zip(sample, graph.inputs, strict=True)]
        (got,) = run(graph, stored)
        (wanted,) = run(real, sample)
        found = dequantize_array(got, quant_of(graph.outputs[0].type))
        losses.append(output_losses({"y": found}, {"y": wanted}, ["y"], 1, stored=True)[0])
    return float(np.mean(losses))


def test_counts_of_a_value_by_hand() -> None:
    """Scale 0.5, zero point −28 (of −128 to 127): −50 to 77.5 can be stored; −60 and 80, 80 and 90 cannot."""
    tally = Tally(i8((1, 8), 0.5, -28))
    real = np.array([[-60.0, -50.0, -1.0, 0.0, 2.0, 80.0, 80.0, 90.0]], np.float32)
    stored = np.array([[-128, -128, -30, -28, -24, 127, 127, 127]], np.int8)
    error = np.array([[3.0, 0, 0, 0, 0, 4.0, 0, 0]], np.float32)
    tally.add(real, stored, error, (7,))
    assert tally.saturated() == (2 / 8, 3 / 8)
    assert tally.clipped() == (1 / 8, 3 / 8)
    assert tally.used() == 1.0
    assert (tally.minimum, tally.maximum) == (-60.0, 90.0)
    assert tally.worst() == (7,)
    signal = 3600 + 2500 + 1 + 0 + 4 + 2 * 6400 + 8100
    noise = 100 + 2 * 2.5**2 + 12.5**2
    assert tally.sqnr() == (pytest.approx(10 * math.log10(signal / noise)), pytest.approx(10 * math.log10(signal / 25)))
    bars = tally.bars()
    assert bars.width == 2.0
    assert sum(bars.real) == sum(bars.quantized) == 8
    assert (bars.range_low, bars.range_high) == (-50.0, 77.5)
    last = int((77.5 - bars.low) // bars.width)
    assert bars.quantized[last] == 3
    assert sum(bars.real[last + 1 :]) == 3


def test_an_end_that_is_zero_is_no_saturation() -> None:
    tally = Tally(i8((1, 4), 1.0, -128))
    tally.add(np.array([[0.0, 0, 0, 300]], np.float32), np.array([[-128, -128, -128, 127]], np.int8), np.zeros((1, 4)), (0,))
    assert tally.saturated() == (0.0, 0.25)
    assert tally.clipped() == (0.0, 0.25)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_the_spoilt_layer_comes_first_and_its_range_is_the_cure(victim: int) -> None:
    graph = classifier()
    samples, name = images(graph, 24), graph.nodes[victim].name
    quantized = spoilt(graph, samples, name)
    found = looked_at(quantized, graph, samples)
    first = found.layers[0]
    assert (first.name, first.op) == (name, "conv_2d")
    assert first.share > 0.8
    assert first.clipped_high > 0.2 and first.saturated_high > 0.2
    assert first.own_sqnr_db is not None and first.own_sqnr_db < 10
    assert first.cure is not None
    assert (first.cure.kind, first.cure.sure) == ("range", True)
    assert first.cure.advice.startswith("--ranges ")
    assert found.loss == pytest.approx(output_loss(quantized, graph, samples), rel=1e-5)
    assert first.cure.before == found.loss
    mended = with_range(
        quantized, tied(quantized, name), quant_of(spoilt(graph, samples, name, 1.0).producers()[name].output.type)
    )
    assert mended is not None
    assert first.cure.after < 0.15 * found.loss
    if first.cure.setting == "minmax":
        assert first.cure.after == pytest.approx(output_loss(mended, graph, samples), rel=1e-5)


def test_a_spoilt_input_comes_first_too() -> None:
    graph = classifier()
    samples = images(graph, 24)
    first = looked_at(spoilt(graph, samples, "x", 0.2), graph, samples).layers[0]
    assert (first.name, first.op) == ("x", "input")
    assert first.cure is not None and first.cure.kind == "range" and first.cure.gain > 0.9
    assert {remedy.kind for remedy in first.remedies} == {"range", "int16", "float"}


def test_a_layer_after_the_spoilt_one_has_no_error_of_its_own() -> None:
    graph = classifier()
    samples = images(graph, 8)
    quantized = spoilt(graph, samples, graph.nodes[0].name)
    rows = by_name(looked_at(quantized, graph, samples))
    after = rows[graph.nodes[1].name]
    assert after.sqnr_db is not None and after.own_sqnr_db is not None
    assert after.sqnr_db < 12
    assert after.own_sqnr_db > 30


def test_reshapes_and_equal_rounding_cost_nothing() -> None:
    graph = classifier()
    samples = images(graph, 6)
    quantized = spoilt(graph, samples, graph.nodes[0].name, 1.0)
    reshape = next(node.name for node in graph.nodes if node.op == "reshape")
    row = by_name(looked_at(quantized, graph, samples))[reshape]
    assert (row.loss, row.own_sqnr_db, row.share) == (0.0, None, 0.0)
    assert row.sqnr_db is not None


def test_wrong_weights_are_found_and_rounding_is_the_cure() -> None:
    """One layer's weights are moved by up to eight steps; ranges and 16 bits cannot mend that."""
    graph = classifier()
    samples = images(graph, 24)
    quantized = spoilt(graph, samples, graph.nodes[0].name, 1.0)
    node = quantized.producers()[graph.nodes[1].name]
    name = node.inputs[1].name
    noise = np.random.default_rng(0).integers(-24, 25, quantized.constants[name].shape)
    moved = np.clip(quantized.constants[name].astype(int) + noise, -127, 127).astype(np.int8)
    broken = replace(quantized, constants={**quantized.constants, name: moved})
    first = looked_at(broken, graph, samples).layers[0]
    assert first.name == node.name
    kinds = {remedy.kind: remedy for remedy in first.remedies}
    assert set(kinds) == {"range", "rounding", "int16", "float"}
    assert first.cure is kinds["rounding"]
    assert kinds["rounding"].gain > 0.6
    assert kinds["range"].gain < 0.3


def test_worst_samples_are_those_that_reach_farthest() -> None:
    graph = classifier()
    samples = images(graph, 12)
    samples[5] = (samples[5][0] * 30,)
    table = calibrate(graph, samples[:5], lambda s: evaluate(graph, s, observed_values(graph)), parse_method("minmax"))
    found = looked_at(quantize(graph, table), graph, samples)
    assert by_name(found)["x"].worst[0] == 5
    assert all(layer.worst[0] == 5 for layer in found.layers if layer.op == "conv_2d")


@pytest.mark.parametrize("seed", [42, 45, 48, 51, 65])
def test_evened_channels_are_in_the_same_units(seed: int) -> None:
    """After equalization values differ by factors; with them every layer of the network is close to float."""
    graph = canonicalize(random_network(seed))
    samples = images(graph, 24)
    made = quantize_with(graph, samples, float_executor, Recipe(parse_method("minmax"), "nearest"))
    graph = split_layers(graph)
    factors = evened_factors(graph, made.real)
    assert len(factors) > 2 and all(np.ptp(array) > 0.1 for array in factors.values())
    scaled = with_factors(graph, factors)
    names = observed_values(graph)
    ours, theirs = evaluate(scaled, samples[0], names), evaluate(made.real, samples[0], names)
    plain = evaluate(graph, samples[0], names)
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4 * np.abs(theirs[name]).max())
        np.testing.assert_allclose(
            plain[name] / factors.get(name, 1.0), theirs[name], rtol=1e-3, atol=1e-4 * np.abs(theirs[name]).max()
        )
    found = diagnose(canonicalize(made.graph), graph, samples, 24, float_executor, factors, (), silent)
    low = [layer for layer in found.layers if layer.own_sqnr_db is not None and layer.own_sqnr_db < 18]
    assert not low, [(layer.name, layer.op, layer.own_sqnr_db) for layer in low]
    assert {layer.name for layer in found.layers} >= {node.name for node in graph.nodes if node.op == "conv_2d"}


@pytest.mark.parametrize("ranges", ["minmax", "mse"])
def test_channels_that_were_dropped_do_not_hide_layers(ranges: str) -> None:
    """Two channels of the first layer are dead: what is left is compared with the float channels that it came from."""
    graph = classifier()
    weights, bias = (graph.nodes[0].inputs[index].name for index in (1, 2))
    constants = {name: array.copy() for name, array in graph.constants.items()}
    constants[weights][[1, 4]] = 0.0
    constants[bias][[1, 4]] = -1.0
    graph = replace(graph, constants=constants)
    samples = images(graph, 24)
    made = quantize_with(graph, samples, float_executor, Recipe(parse_method(ranges), "nearest"))
    final = canonicalize(made.graph)
    name = graph.nodes[0].name
    assert final.producers()[name].output.type.shape == (1, 8, 8, 4)
    kept = kept_channels(made.graph, final)
    assert kept[name].tolist() == [True, False, True, True, False, True]
    factors = signed_factors(evened_factors(graph, made.real), kept)
    found = by_name(diagnose(final, graph, samples, 24, float_executor, factors, (), silent))
    assert {node.name for node in graph.nodes if node.op == "conv_2d"} <= set(found)
    row = found[name]
    assert row.own_sqnr_db is not None and row.own_sqnr_db > 25
    assert sum(row.histogram.real) == 24 * 8 * 8 * 4


def test_shares_add_up_and_losses_of_layers_are_near_the_whole() -> None:
    graph = classifier()
    samples = images(graph, 32)
    found = looked_at(spoilt(graph, samples, graph.nodes[0].name, 1.0), graph, samples)
    assert sum(layer.share for layer in found.layers) == pytest.approx(1.0)
    assert 0.5 < sum(layer.loss for layer in found.layers) / found.loss < 2.0


def test_memory_and_figures_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = classifier()
    samples = images(graph, 5)
    quantized = spoilt(graph, samples, graph.nodes[1].name)
    whole = looked_at(quantized, graph, samples)
    monkeypatch.setattr("calibration.debugger.stacks.PIECE_BYTES", 1)
    alone = looked_at(quantized, graph, samples)
    assert [layer.name for layer in alone.layers] == [layer.name for layer in whole.layers]
    for one, other in zip(alone.layers, whole.layers, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3, abs=1e-9)
        assert (one.histogram.quantized, one.saturated_high) == (other.histogram.quantized, other.saturated_high)


def test_a_value_that_is_tied_changes_with_its_companions() -> None:
    """A pool's input and output share parameters, the biases of readers follow the input scale: outputs stay right."""
    graph = classifier()
    samples = images(graph, 4)
    quantized = spoilt(graph, samples, graph.nodes[0].name, 1.0)
    pool = next(node for node in quantized.nodes if node.op == "average_pool_2d")
    names = tied(quantized, pool.inputs[0].name)
    assert {pool.inputs[0].name, pool.output.name} <= names
    old = quant_of(pool.output.type)
    changed = with_range(quantized, names, per_tensor(old.scalar_scale * 1.5, old.scalar_zero_point))
    assert changed is not None
    dense = next(node for node in changed.nodes if node.op == "fully_connected")
    assert quant_of(dense.inputs[2].type).scale[0] == pytest.approx(
        1.5 * quant_of(next(n for n in quantized.nodes if n.op == "fully_connected").inputs[2].type).scale[0]
    )
    before, after = output_loss(quantized, graph, samples), output_loss(changed, graph, samples)
    assert after < 20 * before + 1e-3


def test_one_sample_proves_no_remedy() -> None:
    graph = classifier()
    samples = images(graph, 12)
    quantized = spoilt(graph, samples, graph.nodes[1].name)
    first = looked_at(quantized, graph, samples[:1]).layers[0]
    assert max(remedy.gain for remedy in first.remedies) > 0.5
    assert not any(remedy.sure for remedy in first.remedies) and first.cure is None


def test_fixed_parameters_are_left_alone() -> None:
    graph = classifier()
    quantized = spoilt(graph, images(graph, 4), graph.nodes[0].name, 1.0)
    assert with_range(quantized, frozenset([quantized.outputs[0].name]), per_tensor(0.5, 3)) is None


def remedy(kind: str, gain: float, sure: bool = True) -> Remedy:
    return Remedy(kind, "", 1.0, 1.0 - gain, gain, sure, "")


def test_the_cure_is_the_cheapest_of_those_that_gain_much() -> None:
    wide, cheap, poor = remedy("float", 0.9), remedy("range", 0.8), remedy("rounding", 0.1)
    assert cure_of([wide, cheap, poor]) is cheap
    assert cure_of([wide, remedy("range", 0.8, sure=False), poor]) is wide
    assert cure_of([remedy("int16", -0.1)]) is None
    assert cure_of([]) is None


def test_coverage_of_layers_names_what_calibration_did_not_see() -> None:
    graph = classifier()
    samples = images(graph, 6)
    quantized = spoilt(graph, samples, graph.nodes[0].name, 1.0)
    name = graph.nodes[1].name
    seen = SeenValues(0.0, 1e-3, 5e-4, 1e-4)
    choices = (RangeChoice(name, "minmax", 0.0, 1e-3, {}, seen), RangeChoice("x", "minmax", -1.0, 1.0))
    found = looked_at(quantized, graph, samples, choices)
    (row,) = found.coverage
    assert row.name == name and row.outside > 0.1
    assert row.warning is not None and row.warning.startswith(f"layer '{name}' is not what calibration covered")


def test_faults_are_coded() -> None:
    graph, other = classifier(), random_network(1)
    quantized = spoilt(graph, images(graph, 4), graph.nodes[0].name, 1.0)
    with pytest.raises(DataError, match=r"E203 net: there are 0 samples"):
        looked_at(quantized, graph, [])
    with pytest.raises(DataError, match=r"E201 net1: its inputs are x"):
        looked_at(quantized, other, images(other, 1))
    renamed = graph.map_values(lambda value: value if value.name == "x" else replace(value, name=f"other_{value.name}"))
    with pytest.raises(DataError, match=r"E201 net: none of its 7 layers has the name of one of the bundle's 7"):
        looked_at(quantized, renamed, images(graph, 1))


def test_sixteen_bits_and_several_outputs() -> None:
    net, x = Network(5), Value("x", f32(1, 6, 6, 2))
    one = net.conv(x, 3)
    two = net.add("tanh", [one])
    graph = Graph("two", (x,), (one, two), tuple(net.nodes), net.constants)
    samples = images(graph, 6)
    table = calibrate(graph, samples, lambda s: evaluate(graph, s, observed_values(graph)), parse_method("minmax"))
    found = looked_at(quantize(graph, table, precisions=INT16X8), graph, samples)
    assert {layer.name for layer in found.layers} == {"x", one.name, two.name}
    assert found.loss_unit == "squared error over mean square"
    assert all(layer.own_sqnr_db is None or layer.own_sqnr_db > 30 for layer in found.layers)
