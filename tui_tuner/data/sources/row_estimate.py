"""Estimate the rows of a data set from its size and some blocks of it, for the end of a progress bar."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tui_tuner.data.sources.files import DataFile, ResolvedSource
from tui_tuner.data.sources.native.process import count_parquet_rows
from tui_tuner.data.sources.streams import detect_compression

BLOCK = 256 * 1024
BLOCKS = 8
MOST_FILES = 1000


def estimate_rows(sources: list[ResolvedSource], limit: int | None = None) -> int | None:
    """Estimate the rows, at most `limit`; None where it cannot be known (packed, JSON, a hub set)."""
    files = [file for resolved in sources for file in resolved.files]
    total = 0
    files_read = files[:MOST_FILES]
    columnar = [file.path for file in files_read if file.kind == "parquet"]
    told = iter(count_parquet_rows(columnar) if columnar else [])
    for file in files_read:
        found = next(told) if file.kind == "parquet" else _estimate_file_rows(file)
        if found is None:
            return None
        total += found
    # Of very many files the first thousand are taken as typical.
    total = round(total * len(files) / max(1, min(len(files), MOST_FILES)))
    return total if limit is None else min(total, limit)


def _estimate_file_rows(file: DataFile) -> int | None:
    if file.kind in ("document", "class"):
        return 1
    if file.member or not file.size:
        return None
    try:
        return _estimate_lines(file) if file.kind in ("jsonl", "text", "csv") else None
    except (OSError, ValueError):
        return None


def _estimate_lines(file: DataFile) -> int | None:
    """Divide the size by the mean row, measured in blocks all over the file."""
    seen = lines = 0
    with open(Path(file.path), "rb") as source:
        if detect_compression(source.read(4)):
            return None
        # A CSV is read from its start only: quoted cells contain line ends, and a block in the middle does
        # not show whether it starts inside of quotes.
        for block in range(1 if file.kind == "csv" else BLOCKS):
            source.seek(block * max(0, file.size - BLOCK) // BLOCKS)
            data = source.read(BLOCK)
            seen += len(data)
            if file.kind == "csv":
                lines += sum(1 for _row in csv.reader(io.StringIO(data.decode("latin-1"), newline="")))
            else:
                lines += data.count(b"\n")
    return round(file.size / seen * lines) if seen and lines else None
