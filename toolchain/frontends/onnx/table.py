"""The table of operators: which importer each one has. To add one, list it in the IMPORTERS of its family."""

from __future__ import annotations

from toolchain.frontends.onnx.importers import (
    activations,
    attention,
    classical,
    control,
    convolution,
    einsum,
    elementwise,
    generators,
    indexing,
    losses,
    matmul,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resize,
    shapes,
    signal,
)
from toolchain.frontends.onnx.node import Importer

FAMILIES: tuple[dict[str, Importer], ...] = (
    elementwise.IMPORTERS,
    activations.IMPORTERS,
    convolution.IMPORTERS,
    pooling.IMPORTERS,
    matmul.IMPORTERS,
    reductions.IMPORTERS,
    shapes.IMPORTERS,
    generators.IMPORTERS,
    normalization.IMPORTERS,
    indexing.IMPORTERS,
    quantization.IMPORTERS,
    resize.IMPORTERS,
    attention.IMPORTERS,
    recurrent.IMPORTERS,
    einsum.IMPORTERS,
    signal.IMPORTERS,
    losses.IMPORTERS,
    control.IMPORTERS,
)
IMPORTERS: dict[tuple[str, str], Importer] = {("", name): each for family in FAMILIES for name, each in family.items()}
IMPORTERS.update({("ai.onnx.ml", name): each for name, each in classical.IMPORTERS.items()})
IMPORTERS.update({("com.microsoft", name): each for name, each in quantization.MICROSOFT.items()})
IMPORTERS.update({("", name): quantization.on_real(IMPORTERS["", name]) for name in quantization.ON_REAL})
