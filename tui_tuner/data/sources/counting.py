"""About how many rows a data set has, from its size and some blocks of it, for a progress bar's end."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tui_tuner.data.sources.files import DataFile, Resolved
from tui_tuner.data.sources.native.process import rows_in_parquet
from tui_tuner.data.sources.streams import compression

BLOCK = 256 * 1024
BLOCKS = 8
MOST_FILES = 1000


def rows_about(sources: list[Resolved], limit: int | None = None) -> int | None:
    """Estimated rows, at most `limit`; None where files do not tell (packed, JSON, a hub set)."""
    files = [file for resolved in sources for file in resolved.files]
    total = 0
    files_read = files[:MOST_FILES]
    columnar = [file.path for file in files_read if file.kind == "parquet"]
    told = iter(rows_in_parquet(columnar) if columnar else [])
    for file in files_read:
        found = next(told) if file.kind == "parquet" else _rows(file)
        if found is None:
            return None
        total += found
    total = round(total * len(files) / max(1, min(len(files), MOST_FILES)))
    return total if limit is None else min(total, limit)


def _rows(file: DataFile) -> int | None:
    if file.kind in ("document", "class"):
        return 1
    if file.member or not file.size:
        return None
    try:
        return _lines(file) if file.kind in ("jsonl", "text", "csv") else None
    except (OSError, ValueError):
        return None


def _lines(file: DataFile) -> int | None:
    """Size over the mean row, in blocks all over the file (of CSV in the first: quotes hold lines)."""
    seen = lines = 0
    with open(Path(file.path), "rb") as source:
        if compression(source.read(4)):
            return None
        for block in range(1 if file.kind == "csv" else BLOCKS):
            source.seek(block * max(0, file.size - BLOCK) // BLOCKS)
            data = source.read(BLOCK)
            seen += len(data)
            if file.kind == "csv":
                lines += sum(1 for _row in csv.reader(io.StringIO(data.decode("latin-1"), newline="")))
            else:
                lines += data.count(b"\n")
    return round(file.size / seen * lines) if seen and lines else None
