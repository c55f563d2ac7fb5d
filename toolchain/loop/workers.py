"""What Spark's Python workers do: lines to rows, by the same code as the local engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from toolchain.ir.types import Array
from toolchain.loop.extras import need
from toolchain.loop.rows import MAX_LINE_BYTES, parse, row_schema

REASON, LINE, PARTITION, OFFSET = "reason", "line", "partition", "offset"


def worker_schema() -> Any:
    """The lake's columns, where each line lies in Kafka, and for one that is no event the reason and the line."""
    arrow = need("pyarrow", "spark")
    more = {REASON: arrow.string(), LINE: arrow.binary(), PARTITION: arrow.int32(), OFFSET: arrow.int64()}
    return arrow.schema([*row_schema(), *(arrow.field(name, kind) for name, kind in more.items())])


def parsed_batches(batches: Iterable[Any], late_s: float) -> Iterator[Any]:
    """Record batches with `value`, `arrived`, seconds since 1970, `partition` and `offset` in, `worker_schema` out."""
    arrow = need("pyarrow", "spark")
    schema = worker_schema()
    for batch in batches:
        lines = [value or b"" for value in batch.column("value").to_pylist()]
        parsed = parse(lines, np.asarray(batch.column("arrived"), np.float64), late_s)
        yield from _like(_placed(parsed.rows, batch, parsed.places), schema).to_batches()
        if parsed.refused:
            refused = {
                REASON: arrow.array([reason for _, reason in parsed.refused]),
                LINE: arrow.array([lines[place][:MAX_LINE_BYTES] for place, _ in parsed.refused], arrow.binary()),
            }
            places = np.array([place for place, _ in parsed.refused])
            yield from _like(_placed(arrow.table(refused), batch, places), schema).to_batches()


def _placed(table: Any, batch: Any, places: Array) -> Any:
    """A table with where its rows lie in Kafka."""
    for name in (PARTITION, OFFSET):
        table = table.append_column(name, batch.column(name).take(need("pyarrow", "spark").array(places)))
    return table


def _like(table: Any, schema: Any) -> Any:
    """A table with all columns of a schema, null where it has none."""
    arrow = need("pyarrow", "spark")
    columns = [table[field.name] if field.name in table.column_names else arrow.nulls(len(table), field.type) for field in schema]
    return arrow.Table.from_arrays(columns, schema=schema)
