"""ai.onnx.ml: trees, linear models and their preprocessing, on rows of features.

Trees are walked together, one level at a time, by gathers. Class labels that are strings become their indices; ZipMap, which
only names columns, gives the columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.frontends.onnx.tensors import read_tensor
from toolchain.ir.attrs import ArgAttrs, AxisAttrs, GatherAttrs, ReduceAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType

MAX_TREE_NODES = 2**20
MAX_DEPTH = 4096
LESS_OR_EQUAL, LESS, GREATER_OR_EQUAL, GREATER = 0, 1, 2, 3
MODES = {
    "BRANCH_LEQ": LESS_OR_EQUAL,
    "BRANCH_LT": LESS,
    "BRANCH_GTE": GREATER_OR_EQUAL,
    "BRANCH_GT": GREATER,
    "LEAF": LESS_OR_EQUAL,
}


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees as arrays over their nodes: go to `yes` where x[feature] <= threshold, else to `no`; leaves lead to themselves.

    roots: the first node of each tree. weights: (nodes, outputs), zero but at leaves. depth: of the deepest leaf.
    """

    feature: Array
    threshold: Array
    yes: Array
    no: Array
    roots: Array
    weights: Array
    depth: int


def _rows(b: Builder, node: OnnxNode) -> Value:
    """The operand as float rows (samples, features)."""
    x = b.cast(node.operand(0), DType.F32)
    if x.type.rank not in (1, 2):
        raise node.malformed(f"shape {x.type.shape} is no table of features")
    return x if x.type.rank == 2 else b.reshape(x, (1, x.type.shape[0]))


def _numbers(b: Builder, node: OnnxNode, name: str) -> Array:
    """A list of floats or integers, or the tensor that may stand for it."""
    tensor = node.tensor(f"{name}_as_tensor") if node.has(f"{name}_as_tensor") else None
    if tensor is not None:
        return read_tensor(tensor, b.base_dir).reshape(-1)
    if node.has(name) and node.attributes[name].type == node.attributes[name].FLOATS:
        return np.array(node.reals(name), np.float32)
    return np.array(node.integers(name) or (), np.int64)


def _forest_of_lists(b: Builder, node: OnnxNode, prefix: str, outputs: int) -> Forest:
    """The trees of TreeEnsembleClassifier (prefix class) or TreeEnsembleRegressor (target)."""
    trees, ids = _numbers(b, node, "nodes_treeids"), _numbers(b, node, "nodes_nodeids")
    place = {(int(t), int(i)): at for at, (t, i) in enumerate(zip(trees, ids, strict=True))}
    count = len(place)
    if count != len(trees) or not 0 < count <= MAX_TREE_NODES:
        raise node.malformed(f"{len(trees)} nodes with {count} different names")
    leaf = np.array([text == "LEAF" for text in node.texts("nodes_modes") or ()])

    def child(name: str) -> Array:
        following = _numbers(b, node, name)
        each = enumerate(zip(trees, following, leaf, strict=True))
        return np.array([at if end else place[int(t), int(i)] for at, (t, i, end) in each], np.int64)

    weights = np.zeros((count, outputs), np.float64)
    owners, keys = _numbers(b, node, f"{prefix}_treeids"), _numbers(b, node, f"{prefix}_nodeids")
    for t, i, column, weight in zip(
        owners, keys, _numbers(b, node, f"{prefix}_ids"), _numbers(b, node, f"{prefix}_weights"), strict=True
    ):
        if not 0 <= column < outputs:
            raise node.malformed(f"output {column} of {outputs}")
        weights[place[int(t), int(i)], int(column)] += float(weight)
    first = {int(t): at for at, t in reversed(list(enumerate(trees)))}
    modes = np.array([_mode(node, text) for text in node.texts("nodes_modes") or ()])
    feature, threshold = _numbers(b, node, "nodes_featureids"), _numbers(b, node, "nodes_values")
    links = (child("nodes_truenodeids"), child("nodes_falsenodeids"))
    return _forest(node, feature, threshold, modes, links, np.array(sorted(first.values())), weights)


def _mode(node: OnnxNode, text: str) -> int:
    if text not in MODES:
        raise node.unsupported(f"the comparison {text!r}", "Use trees that compare by order")
    return MODES[text]


def _forest(
    node: OnnxNode, feature: Array, threshold: Array, modes: Array, links: tuple[Array, Array], roots: Array, weights: Array
) -> Forest:
    """All comparisons as <=: x < t is x <= the float below t, the other two go the other way."""
    if not len(feature) == len(threshold) == len(modes) == len(links[0]):
        raise node.malformed(
            f"{len(feature)} features, {len(threshold)} thresholds, {len(modes)} modes for {len(links[0])} nodes"
        )
    below = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))
    strict = (modes == LESS) | (modes == GREATER_OR_EQUAL)
    bound = np.where(strict, below, threshold.astype(np.float32))
    turned = (modes == GREATER) | (modes == GREATER_OR_EQUAL)
    yes, no = np.where(turned, links[1], links[0]), np.where(turned, links[0], links[1])
    depth, level = 0, np.unique(roots)
    while ((yes[level] != level) | (no[level] != level)).any():
        level = np.unique(np.concatenate([yes[level], no[level]]))
        depth += 1
        if depth > MAX_DEPTH:
            raise ModelError(108, node.place, f"a tree is deeper than {MAX_DEPTH} levels or has a cycle", "Check the trees")
    if not np.isfinite(weights).all() or np.isnan(bound).any():
        raise ModelError(106, node.place, "a threshold or weight of the trees is not a number", "Train or export the model again")
    return Forest(feature, bound, yes, no, roots, weights.astype(np.float32), depth)


def walk(b: Builder, node: OnnxNode, x: Value, forest: Forest) -> Value:
    """The weights of the leaves that rows reach, (samples, trees, outputs)."""
    samples, features = x.type.shape
    if forest.feature.size and not 0 <= forest.feature.min() <= forest.feature.max() < features:
        raise node.malformed(f"feature {forest.feature.max()} of {features}")
    table = [b.constant(array.astype(np.int32), "tree") for array in (forest.feature, forest.yes, forest.no)]
    bounds = b.constant(forest.threshold, "thresholds")
    place = b.constant(np.tile(forest.roots.astype(np.int32), (samples, 1)), "roots")

    def look(array: Value) -> Value:
        return b.emit("gather", (array, place), GatherAttrs(0))

    for _ in range(forest.depth):
        seen = b.emit("gather_elements", (x, look(table[0])), AxisAttrs(1))
        place = b.emit("where", (b.emit("less_equal", (seen, look(bounds))), look(table[1]), look(table[2])))
    return b.emit("gather", (b.constant(forest.weights, "leaves"), place), GatherAttrs(0))


def _based(b: Builder, node: OnnxNode, scores: Value) -> Value:
    base = _numbers(b, node, "base_values")
    return scores if base.size == 0 else b.add(scores, b.constant(base.astype(np.float32), "base"))


def _transformed(b: Builder, node: OnnxNode, scores: Value) -> Value:
    kind = node.text("post_transform", "NONE")
    if kind == "NONE":
        return scores
    if kind not in ("SOFTMAX", "LOGISTIC"):
        raise node.unsupported(f"the transform {kind}", "Use NONE, SOFTMAX or LOGISTIC")
    return b.unary("softmax" if kind == "SOFTMAX" else "sigmoid", scores)


def _labels(b: Builder, node: OnnxNode, integers: str) -> Array:
    """Labels as int64; strings are numbered."""
    given = node.integers(integers)
    return np.array(given, np.int64) if given else np.arange(len(node.texts("classlabels_strings") or ()), dtype=np.int64)


def _classified(b: Builder, node: OnnxNode, scores: Value, labels: Array, threshold: float) -> tuple[Value, Value]:
    """Labels and scores; one score for two classes is that of the second, chosen above the threshold."""
    index: Value
    if scores.type.shape[1] == 1 and len(labels) == 2:
        above = b.emit("greater", (b.reshape(scores, (scores.type.shape[0],)), b.like(threshold, scores)))
        index = b.cast(above, DType.I32)
        other = b.sub(b.like(1, scores), scores) if threshold else b.unary("neg", scores)
        if node.text("post_transform", "NONE") == "LOGISTIC" and threshold:
            raise node.unsupported("a logistic transform of positive votes", "Use raw scores")
        scores = b.emit("concat", (other, scores), AxisAttrs(1))
    else:
        index = b.emit("argmax", (scores,), ArgAttrs(1))
    if len(labels) != scores.type.shape[1]:
        raise node.malformed(f"{len(labels)} labels for {scores.type.shape[1]} scores")
    return b.emit("gather", (b.constant(labels, "labels"), index), GatherAttrs(0)), _transformed(b, node, scores)


def tree_classifier(b: Builder, node: OnnxNode) -> tuple[Value, Value]:
    """TreeEnsembleClassifier: the label and the scores of the classes."""
    labels = _labels(b, node, "classlabels_int64s")
    classes = np.unique(_numbers(b, node, "class_ids"))
    forest = _forest_of_lists(b, node, "class", max(len(labels), 1))
    votes = b.emit("reduce_sum", (walk(b, node, _rows(b, node), forest),), ReduceAttrs((1,), False))
    positive = bool((forest.weights >= 0).all())
    if len(labels) == 2 and len(classes) == 1:
        one = b.emit("gather", (votes, b.ints([int(classes[0])])), GatherAttrs(1))
        return _classified(b, node, _based(b, node, one), labels, 0.5 if positive else 0.0)
    return _classified(b, node, _based(b, node, votes), labels, 0.0)


def tree_regressor(b: Builder, node: OnnxNode) -> Value:
    """TreeEnsembleRegressor: leaves of all trees joined per target."""
    targets = node.integer("n_targets", 1)
    if not 1 <= targets <= 65_536:
        raise node.malformed(f"n_targets is {targets}")
    forest = _forest_of_lists(b, node, "target", targets)
    kind = node.text("aggregate_function", "SUM")
    return _aggregated(b, node, forest, {"SUM": 1, "AVERAGE": 0, "MIN": 2, "MAX": 3}.get(kind, -1))


def _aggregated(b: Builder, node: OnnxNode, forest: Forest, kind: int) -> Value:
    """Leaves (samples, trees, targets) joined over trees: 0 average, 1 sum, 2 least, 3 largest."""
    leaves = walk(b, node, _rows(b, node), forest)
    if kind not in range(4) or (kind > 1 and forest.weights.shape[1] > 1):
        raise node.unsupported("this aggregate function for these targets", "Use SUM or AVERAGE")
    op = ("reduce_mean", "reduce_sum", "reduce_min", "reduce_max")[kind]
    return _transformed(b, node, _based(b, node, b.emit(op, (leaves,), ReduceAttrs((1,), False))))


def tree_ensemble(b: Builder, node: OnnxNode) -> Value:
    """TreeEnsemble (version 5): inner nodes and leaves in lists of their own."""
    inner = {name: _numbers(b, node, f"nodes_{name}") for name in ("featureids", "truenodeids", "falsenodeids")}
    tensors = {name: node.tensor(name) for name in ("nodes_splits", "nodes_modes", "leaf_weights")}
    if any(tensor is None for tensor in tensors.values()):
        raise node.malformed("lacks nodes_splits, nodes_modes or leaf_weights")
    splits, modes, leaves = (read_tensor(tensor, b.base_dir).reshape(-1) for tensor in tensors.values() if tensor is not None)
    if modes.size and int(modes.max()) > GREATER:
        raise node.unsupported("comparisons other than by order", "Use trees that compare by order")
    count, total = len(modes), len(modes) + len(leaves)
    if not 0 < total <= MAX_TREE_NODES:
        raise node.malformed(f"{total} nodes")
    weights = np.zeros((total, node.integer("n_targets", 1)), np.float64)
    weights[np.arange(count, total), _numbers(b, node, "leaf_targetids")] = leaves

    def link(name: str) -> Array:
        ends = _numbers(b, node, f"nodes_{name}leafs").astype(bool)
        inside = np.where(ends, inner[f"{name}nodeids"] + count, inner[f"{name}nodeids"])
        if inside.size and not 0 <= inside.min() <= inside.max() < total:
            raise node.malformed(f"a node leads to {inside.max()} of {total}")
        return np.concatenate([inside, np.arange(count, total)])

    still = np.zeros(len(leaves), np.int64)
    feature = np.concatenate([inner["featureids"], still])
    threshold = np.concatenate([splits.astype(np.float32), still.astype(np.float32)])
    roots = _numbers(b, node, "tree_roots")
    codes = np.concatenate([modes.astype(np.int64), still])
    forest = _forest(node, feature, threshold, codes, (link("true"), link("false")), roots, weights)
    if node.integer("post_transform", 0):
        raise node.unsupported("a transform of the scores", "Apply it after the trees")
    return _aggregated(b, node, forest, node.integer("aggregate_function", 1))


def _linear(b: Builder, node: OnnxNode, outputs: int) -> Value:
    x = _rows(b, node)
    coefficients = _numbers(b, node, "coefficients").astype(np.float32)
    if outputs < 1 or coefficients.size != outputs * x.type.shape[1]:
        raise node.malformed(f"{coefficients.size} coefficients for {outputs} outputs of {x.type.shape[1]} features")
    weights = b.constant(coefficients.reshape(outputs, -1), "coefficients")
    offsets = _numbers(b, node, "intercepts").astype(np.float32)
    operands = (x, weights) if offsets.size == 0 else (x, weights, b.constant(offsets, "intercepts"))
    return b.emit("fully_connected", operands)


def linear_regressor(b: Builder, node: OnnxNode) -> Value:
    """LinearRegressor."""
    return _transformed(b, node, _linear(b, node, node.integer("targets", 1)))


def linear_classifier(b: Builder, node: OnnxNode) -> tuple[Value, Value]:
    """LinearClassifier: the label and the scores."""
    labels = _labels(b, node, "classlabels_ints")
    rows = _rows(b, node).type.shape[1]
    outputs = max(_numbers(b, node, "coefficients").size // max(rows, 1), 1)
    return _classified(b, node, _linear(b, node, outputs), labels, 0.0)


def scaler(b: Builder, node: OnnxNode) -> Value:
    """Scaler: (x − offset) * scale per feature."""
    x = b.cast(node.operand(0), DType.F32)
    offset, scale = (_numbers(b, node, name).astype(np.float32) for name in ("offset", "scale"))
    return b.mul(b.sub(x, b.constant(offset, "offset")), b.constant(scale, "scale"))


def normalizer(b: Builder, node: OnnxNode) -> Value:
    """Normalizer: rows divided by their largest element, their sum of magnitudes or their length; zero divides nothing."""
    x, kind = _rows(b, node), node.text("norm", "MAX")
    kept = ReduceAttrs((1,), True)
    if kind == "MAX":
        norm = b.emit("reduce_max", (x,), kept)
    elif kind == "L1":
        norm = b.emit("reduce_sum", (b.unary("abs", x),), kept)
    else:
        norm = b.unary("sqrt", b.emit("reduce_sum", (b.unary("square", x),), kept))
    zero = b.emit("equal", (norm, b.like(0, x)))
    return b.div(x, b.emit("where", (zero, b.like(1, x), norm)))


def binarizer(b: Builder, node: OnnxNode) -> Value:
    """Binarizer: 1 above a threshold, else 0."""
    x = node.operand(0)
    return b.cast(b.emit("greater", (x, b.like(node.real("threshold", 0.0), x))), x.type.dtype)


def imputer(b: Builder, node: OnnxNode) -> Value:
    """Imputer: one value, or NaN, replaced per feature."""
    x = node.operand(0)
    if x.type.dtype.is_float:
        old, new = node.real("replaced_value_float", 0.0), np.array(node.reals("imputed_value_floats"), np.float32)
        hit = b.unary("isnan", x) if np.isnan(old) else b.emit("equal", (x, b.like(old, x)))
    else:
        new = np.array(node.integers("imputed_value_int64s"), np.int64)
        hit = b.emit("equal", (x, b.like(node.integer("replaced_value_int64", 0), x)))
    return b.emit("where", (hit, b.constant(new.astype(x.type.dtype.numpy), "imputed"), x))


def extract(b: Builder, node: OnnxNode) -> Value:
    """ArrayFeatureExtractor: columns by constant indices."""
    x = node.operand(0)
    places = [int(place) for place in b.need(node, 1, "the columns").reshape(-1)]
    return b.emit("gather", (x, b.ints(places)), GatherAttrs(x.type.rank - 1))


def zip_map(b: Builder, node: OnnxNode) -> Value:
    """ZipMap: the columns themselves, in the order of their labels."""
    return node.operand(0)


IMPORTERS: dict[str, Importer] = {
    "TreeEnsemble": tree_ensemble,
    "TreeEnsembleClassifier": tree_classifier,
    "TreeEnsembleRegressor": tree_regressor,
    "LinearClassifier": linear_classifier,
    "LinearRegressor": linear_regressor,
    "Scaler": scaler,
    "Normalizer": normalizer,
    "Binarizer": binarizer,
    "Imputer": imputer,
    "ArrayFeatureExtractor": extract,
    "ZipMap": zip_map,
}
