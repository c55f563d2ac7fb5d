"""Graph to the bytes of a .tflite file for LiteRT and TensorFlow Lite Micro."""

from __future__ import annotations

from toolchain.backends.tflite.detour import needs_detour, through_float
from toolchain.backends.tflite.exporter import Exporter
from toolchain.backends.tflite.operators import EXPORTS
from toolchain.backends.tflite.packer import FileModel, pack
from toolchain.backends.tflite.tabled import is_tabled, through_table
from toolchain.ir.graph import Graph, Value


def write_tflite(graph: Graph, *, compact: bool = False, signature: bool = True) -> bytes:
    """The .tflite file of a graph; the same graph gives the same bytes.

    compact: for TensorFlow Lite Micro alone, which takes one zero point for all channels and needs no inner names.
    signature: add a `serving_default` signature with the names of inputs and outputs.
    Raises TargetError(305) for a node that TFLite cannot say.
    """
    return pack(export_graph(graph, compact=compact, signature=signature))


def export_graph(graph: Graph, *, compact: bool, signature: bool) -> FileModel:
    """The records of the file that `write_tflite` packs."""
    exporter = Exporter(graph, compact)
    if compact:
        exporter.flattened = flattened_by_products(graph)
    for node in graph.nodes:
        if node.output.name in exporter.flattened:
            continue
        export = EXPORTS.get(node.op)
        if is_tabled(node) and (export is None or needs_detour(node, compact)):
            through_table(exporter, node)
            continue
        if export is None:
            raise exporter.refuse(node, "operator")
        if needs_detour(node, compact):
            through_float(exporter, node, export)
        else:
            export(exporter, node)
    for value in graph.outputs:
        exporter.index(value)
    return exporter.finish(signature)


def flattened_by_products(graph: Graph) -> dict[str, Value]:
    """Operands of reshapes to two dimensions that only matrix products read, by the reshape's result.

    TFLite's FULLY_CONNECTED takes an operand of any shape as rows, so such a reshape need not be written.
    """
    users, ends = graph.users(), {value.name for value in graph.outputs}
    return {
        node.output.name: node.inputs[0]
        for node in graph.nodes
        if node.op == "reshape"
        and node.output.type.rank == 2
        and node.output.name not in ends
        and node.inputs[0].name not in graph.constants
        and all(user.op == "fully_connected" and user.inputs[0] == node.output for user in users.get(node.output.name, []))
    }
