"""The part of a report that says what quantization costs, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.report.histograms import histogram, shares_bar
from benchmarks.report.pictures import bar
from benchmarks.report.tables import html_table
from calibration.debugger.findings import Diagnosis, LayerFinding, Remedy
from toolchain.api.results import VerifyResult

HEADS = (
    ("", ""),
    ("layer", "text"),
    ("operation", "text"),
    ("share of the loss", "text"),
    ("own SQNR dB", ""),
    ("in all dB", ""),
    ("clipped %", ""),
    ("at ends %", ""),
    ("used %", ""),
    ("worst in", "text"),
)
REMEDY_HEADS = (("layer", "text"), ("tried", "text"), ("loss before", ""), ("after", ""), ("gain", "text"), ("how", "text"))
PICTURED = 6
SAMPLES = 3
WORDS = {"range": "range of its output by", "rounding": "weights rounded", "int16": "in 16 bits", "float": "in float"}


def layers_section(result: VerifyResult) -> str:
    """The section, empty where layers were not looked at."""
    found = result.diagnosis
    if found is None:
        return ""
    accuracy = result.accuracy
    agreement = "" if accuracy.agreement is None else f" Outputs agree with the float model's on {accuracy.agreement:.2%}."
    text = (
        f"Every layer beside the float model, over {found.samples:,} samples; losses and remedies over {found.measured:,} of "
        f"them. The whole network loses {found.loss:.3g} ({found.loss_unit}).{agreement} A layer's share is the loss of the "
        "float network when the error that this layer itself makes is added to its output. Most is lost in samples "
        f"{_numbers(found.worst)}."
    )
    drift = "".join(f'<p class="warning">{escape(warning)}.</p>' for warning in result.warnings)
    pictures = [histogram(layer) for layer in found.layers[:PICTURED] if layer.loss > 0]
    note = "Elements of layers' outputs on a logarithmic scale: in float (area), as stored (line); dashed, what can be stored."
    return "\n".join(
        [
            "<h3>What quantization costs</h3>",
            f"<p>{escape(text)}</p>{drift}",
            shares_bar(found.layers),
            html_table(HEADS, [_row(index, layer) for index, layer in enumerate(found.layers, 1)], name_column=1),
            _remedies(found),
            f'<p>{note}</p>\n<div class="histograms">{"".join(pictures)}</div>' if pictures else "",
        ]
    )


def _row(index: int, layer: LayerFinding) -> list[str]:
    clipped, ends = layer.clipped_low + layer.clipped_high, layer.saturated_low + layer.saturated_high
    return [
        str(index),
        f'<span title="{escape(layer.name)}">{escape(layer.name)}</span>',
        escape(layer.op),
        bar(layer.share, f"{layer.share:.1%}"),
        *(_decibel(figure) for figure in (layer.own_sqnr_db, layer.sqnr_db)),
        *(f"{100 * share:.2f}" for share in (clipped, ends)),
        f"{100 * layer.used:.0f}",
        _numbers(layer.worst[:SAMPLES]),
    ]


def _remedies(found: Diagnosis) -> str:
    rows = [_remedy(layer, remedy) for layer in found.layers for remedy in layer.remedies]
    if not rows:
        return ""
    note = "Each was tried in the quantized network and measured at its end; ✓ is what to take, gains in grey may be chance."
    return f"<h3>Remedies</h3>\n<p>{note}</p>\n{html_table(REMEDY_HEADS, rows, name_column=0)}"


def _remedy(layer: LayerFinding, remedy: Remedy) -> list[str]:
    mark = "✓ " if remedy == layer.cure else ""
    what = f"{WORDS[remedy.kind]} {remedy.setting if remedy.kind in ('range', 'rounding') else ''}".strip()
    kind = "yes" if remedy.sure else "predicted"
    gain = f'<span class="{kind}">{remedy.gain:+.1%}</span>'
    name = escape(layer.name)
    return [name, mark + what, f"{remedy.before:.3g}", f"{remedy.after:.3g}", gain, escape(remedy.advice)]


def _decibel(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.1f}"


def _numbers(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices)) or "–"
