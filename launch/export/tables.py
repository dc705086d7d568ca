"""Tables of a sweep as CSV or Parquet: runs, metrics, classes. Each file is written anew, as a whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from golang.disk.whole import put
from golang.records.table import Runs
from launch.export.columns import Columns
from launch.export.source import ExportError, classes, kept_line, kept_row

Rows = Iterable[Mapping[str, Any]]
Parts = Callable[[], Iterator[Rows]]  # a run's rows after the other's, as often as they are asked for
FORMULA = tuple("=+-@\t\r")  # a spreadsheet takes what begins so for a formula


def write_csv(runs: Runs, folder: Path) -> list[Path]:
    """Writes runs.csv, metrics.csv and classes.csv. Raises OSError."""
    return _write(runs, folder, ".csv", _fill_csv)


def write_parquet(runs: Runs, folder: Path) -> list[Path]:
    """Writes runs.parquet, metrics.parquet and classes.parquet. Raises ExportError without pyarrow, OSError."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ExportError(f"Parquet needs pyarrow ({error}): pip install 'pyarrow>=15'") from error
    return _write(runs, folder, ".parquet", _fill_parquet)


def _write(runs: Runs, folder: Path, suffix: str, fill: Callable[[BinaryIO, Columns, Parts], None]) -> list[Path]:
    tables: dict[str, Parts] = {
        "runs": lambda: iter([[kept_row(run) for run in runs]]),
        "metrics": lambda: ([kept_line(run, line) for line in run.metrics()] for run in runs),
        "classes": lambda: (list(classes(run)) for run in runs),
    }
    made = []
    for name, parts in tables.items():
        columns = Columns({"run": "text"})
        for part in parts():
            columns.meet(part)
        made.append(folder / (name + suffix))
        put(made[-1], lambda file, columns=columns, parts=parts: fill(file, columns, parts), durable=False)  # type: ignore[misc]
    return made


def _fill_csv(file: BinaryIO, columns: Columns, parts: Parts) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", errors="backslashreplace")
    writer = csv.writer(text)
    writer.writerow([_inert(name) for name in columns])
    for part in parts():
        writer.writerows([_inert(value) for value in columns.cells(row)] for row in part)
    text.detach()


def _inert(value: Any) -> Any:  # noqa: ANN401 - any cell
    """Text that no spreadsheet computes."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _fill_parquet(file: BinaryIO, columns: Columns, parts: Parts) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = {
        "none": pyarrow.string(), "text": pyarrow.string(), "truth": pyarrow.bool_(), "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
    }  # fmt: skip
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for part in parts():
            cells = [columns.cells(row) for row in part]
            whole = zip(*cells, strict=True) if cells else [() for _ in columns]
            arrays = [pyarrow.array(list(column), field.type) for column, field in zip(whole, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
