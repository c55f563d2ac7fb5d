"""Tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(
    heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], name_column: int = -1, *, sortable: bool = False
) -> str:
    """A table; heads are texts with the class of their column, cells are HTML. sortable: by a click on a head."""

    def cell(text: str, column: int) -> str:
        kind = "name" if column == name_column else heads[column][1]
        return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"

    top = "".join(
        f'<th scope="col" class="{kind}">{escape(text)}</th>' if kind else f'<th scope="col">{escape(text)}</th>'
        for text, kind in heads
    )
    body = "\n".join(f"<tr>{''.join(cell(text, column) for column, text in enumerate(row))}</tr>" for row in rows)
    kind = ' class="sortable"' if sortable else ""
    table = f"<table{kind}><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"
    label = escape(", ".join(text for text, _ in heads if text))
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{table}</div>'


def number(value: int | None) -> str:
    """A whole number with its thousands apart, or a dash."""
    return "–" if value is None else f"{value:,}"
