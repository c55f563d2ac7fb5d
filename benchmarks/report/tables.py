"""Tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], name_column: int = -1) -> str:
    """A table; heads are texts with the class of their column, cells are HTML."""

    def cell(text: str, column: int) -> str:
        kind = "name" if column == name_column else heads[column][1]
        return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"

    top = "".join(f'<th class="{kind}">{escape(text)}</th>' if kind else f"<th>{escape(text)}</th>" for text, kind in heads)
    body = "\n".join(f"<tr>{''.join(cell(text, column) for column, text in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
