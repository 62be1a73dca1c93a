"""Small valid files of every kind that is read, and ways to damage them."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import zstandard

_CHAT = {"messages": [{"role": "user", "content": "Wie heißt du?"}, {"role": "assistant", "content": "Ada."}]}
_PAIRS = [{"prompt": f"question {n}", "response": f"answer {n}", "score": n / 3} for n in range(6)]
_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _PAIRS)
_CONLL = "EU B-ORG\nrejects O\n\nPeter B-PER\nBlackburn I-PER\n\n"
_ROW = "1\tDas\tder\tDET\tART\t_\t2\tdet\t_\t_\n2\tHaus\tHaus\tNOUN\tNN\t_\t0\troot\t_\t_\n\n"
_SQUAD = {"data": [{"title": "t", "paragraphs": [{"context": "abc", "qas": [{"id": "1", "question": "q"}]}]}]}
_ODD = (
    b"9" * 5000, b"1e400", b"-1e-400", b"NaN", b"null", b"{", b"[" * 600, b'{"a":' * 300, b'"', b"\\",
    b"\x00",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xf0\x9f\x98", b"\\ud800", b"\r", b"\n" * 40, b"\t" * 40, b"," * 40,
    b"(" * 600, b"<div>" * 300, b"&#99999999999;", b"\xe2\x80\xae", b"' OR '", b"/*", b"--", b"PK\x03\x04",
    b"\x1f\x8b", b"true", b"[]", b"{}", b"0x", b"\x1b[2J", b" " * 3000,
)  # fmt: skip


def _zipped(method: int) -> bytes:
    block = io.BytesIO()
    with zipfile.ZipFile(block, "w", method) as archive:
        archive.writestr("one/a.jsonl", _LINES)
        archive.writestr("b.csv", "text,label\nGood.,yes\n")
    return block.getvalue()


def _columnar(write: Callable[[pa.Table, io.BytesIO], object]) -> bytes:
    block = io.BytesIO()
    table = pa.table(
        {
            "prompt": [row["prompt"] for row in _PAIRS],
            "response": pa.array([row["response"] for row in _PAIRS]).dictionary_encode(),
            "more": pa.array([{"a": [1, None]}, None] * 3),
            "at": pa.array([10**17, None] * 3, pa.timestamp("us")),
        }
    )
    write(table, block)
    return block.getvalue()


def _stream(table: pa.Table, block: io.BytesIO) -> None:
    with pa.ipc.new_stream(block, table.schema) as sink:
        sink.write_table(table)


def seeds() -> dict[str, bytes]:
    """Name to content."""
    texts = {
        "pairs.jsonl": _LINES,
        "chat.jsonl": (json.dumps(_CHAT) + "\n") * 3,
        "list.json": json.dumps(_PAIRS, indent=1),
        "squad.json": json.dumps(_SQUAD),
        "frame.json": json.dumps({"columns": ["text", "label"], "index": [0], "data": [["a", "b"]]}),
        "table.csv": 'text,label\n"Good, really",yes\nBad.,no\n',
        "table.tsv": "text\tlabel\nGood.\tyes\nBad.\tno\n",
        "lines.txt": "Eine Zeile.\nNoch eine.\n",
        "page.md": "# Titel\n\nText mit *Wort*.\n",
        "page.html": "<html><head><title>t</title></head><p>Ein <b>Wort</b>&amp;<br>mehr</p></html>",
        "words.conll": _CONLL * 3,
        "words.conllu": _ROW * 3,
        "dump.sql": "CREATE TABLE t (prompt text, response text);\nINSERT INTO t VALUES ('a','it''s');\n",
        "copy.sql": "-- PostgreSQL database dump\nCOPY t (prompt, response) FROM stdin;\na\tb\nc\t\\N\n\\.\n",
    }
    found = {name: text.encode() for name, text in texts.items()}
    found["wide.csv"] = texts["table.csv"].encode("utf-16")
    found["pairs.jsonl.gz"] = gzip.compress(_LINES.encode(), mtime=0)
    found["pairs.jsonl.zst"] = zstandard.compress(_LINES.encode())
    found["stored.zip"], found["packed.zip"] = _zipped(zipfile.ZIP_STORED), _zipped(zipfile.ZIP_DEFLATED)
    found["bzip.zip"], found["lzma.zip"] = _zipped(zipfile.ZIP_BZIP2), _zipped(zipfile.ZIP_LZMA)
    found["a.parquet"] = _columnar(pa.parquet.write_table)
    found["a.feather"] = _columnar(pa.feather.write_feather)
    found["a.arrow"] = _columnar(_stream)
    return found


def damaged(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """The same with one to four things wrong."""
    block = bytearray(data)
    for _unused in range(chance.randint(1, 4)):
        place = chance.randrange(len(block) + 1) if block else 0
        kind = chance.randrange(7)
        if kind == 0 and block:
            block[place % len(block)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del block[place:]
        elif kind == 2:
            block[place:place] = chance.choice(_ODD)
        elif kind == 3:
            del block[place : place + chance.randint(1, 30)]
        elif kind == 4:
            other = chance.choice(others)
            block[place:] = other[chance.randrange(len(other)) :]
        elif kind == 5:
            block[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"))
        else:
            block[place:place] = block[chance.randrange(len(block) + 1) :][:200]
    return bytes(block) or b"x"


def damaged_files(folder: Path, seed: int, count: int) -> Iterator[Path]:
    """So many damaged files, one after the other, always the same ones for a seed."""
    chance, whole = random.Random(seed), seeds()
    names, contents = list(whole), list(whole.values())
    for number in range(count):
        name = names[number % len(names)]
        path = folder / f"{number:04}-{name}"
        path.write_bytes(damaged(whole[name], chance, contents))
        yield path
