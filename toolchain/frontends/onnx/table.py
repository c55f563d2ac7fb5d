"""The table of operators: which importer each one has. To add one, list it in the IMPORTERS of its family."""

from __future__ import annotations

from toolchain.frontends.onnx.importers import (
    activations,
    convolution,
    elementwise,
    generators,
    matmul,
    normalization,
    pooling,
    reductions,
    shapes,
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
)
IMPORTERS: dict[tuple[str, str], Importer] = {("", name): each for family in FAMILIES for name, each in family.items()}
