"""What Spark's Python workers do: lines to rows, by the same code as the local engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from toolchain.loop.extras import need
from toolchain.loop.lake.rows import MAX_LINE_BYTES, parse, row_schema

REASON, LINE = "reason", "line"


def worker_schema() -> Any:
    """The lake's columns, and for a line that is no event the reason and the line."""
    arrow = need("pyarrow", "spark")
    return row_schema().append(arrow.field(REASON, arrow.string())).append(arrow.field(LINE, arrow.binary()))


def parsed_batches(batches: Iterable[Any], late_s: float) -> Iterator[Any]:
    """Record batches with `value` and `arrived`, seconds since 1970, as record batches of `worker_schema`."""
    arrow = need("pyarrow", "spark")
    schema = worker_schema()
    for batch in batches:
        lines = [value or b"" for value in batch.column("value").to_pylist()]
        parsed = parse(lines, np.asarray(batch.column("arrived"), np.float64), late_s)
        yield from _like(parsed.rows, schema).to_batches()
        if parsed.refused:
            refused = {
                REASON: arrow.array([reason for _, reason in parsed.refused]),
                LINE: arrow.array([lines[place][:MAX_LINE_BYTES] for place, _ in parsed.refused], arrow.binary()),
            }
            yield from _like(arrow.table(refused), schema).to_batches()


def _like(table: Any, schema: Any) -> Any:
    """A table with all columns of a schema, null where it has none."""
    arrow = need("pyarrow", "spark")
    columns = [table[field.name] if field.name in table.column_names else arrow.nulls(len(table), field.type) for field in schema]
    return arrow.Table.from_arrays(columns, schema=schema)
