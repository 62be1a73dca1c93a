"""SQL dumps as each database writes them: every row with its exact text, or a counted problem."""

from __future__ import annotations

import io
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data.read_data import DataReading
from tui_tuner.data.records import Row
from tui_tuner.data.sources import sqllexer
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.data.sources.sqldump import detect_sql_dialect, read_sql
from tui_tuner.errors import DataError

Table = list[tuple[int, str, str | None]]
PIECES = [
    "'", "''", '"', "`", "\\", "\\n", "\n", "\r\n", "\t", ";", "--", "-- x", "#", "/*", "*/", "/*!", "$$",
    "$a$", "(", ")", ",", "),(", "');", "\nINSERT INTO t VALUES (1);\n", "\\.", "\n\\.\n", "\\N", "NULL",
    "E'", "N'", "::", "||", "é", "你好", "😀", "\x01", "\x1a", " ", "word", "two words ", "[x]", "{y}", "%",
    "_", "\nGO\n", "q'[", "DELIMITER ;;", "\x0b", "\u2028", "\x85",
]  # fmt: skip


def nasty(random: random.Random) -> str:
    return "".join(random.choice(PIECES) for _ in range(random.randrange(12)))


def tables(seed: int, rows: int = 40) -> Table:
    chance = random.Random(seed)
    return [
        (number, nasty(chance), None if chance.random() < 0.2 else nasty(chance)) for number in range(rows)
    ]


def standard(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def mysql(text: str | None) -> str:
    if text is None:
        return "NULL"
    for plain, escape in (
        ("\\", "\\\\"),
        ("'", "\\'"),
        ('"', '\\"'),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\x1a", "\\Z"),
    ):
        text = text.replace(plain, escape)
    return f"'{text}'"


def as_mysql(rows: Table) -> str:
    lines = ",".join(f"({number},{mysql(one)},{mysql(two)})" for number, one, two in rows)
    return (
        "-- MySQL dump 10.13  Distrib 8.0.36\n/*!40101 SET NAMES utf8mb4 */;\nDROP TABLE IF EXISTS `t`;\n"
        "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT COMMENT 'a, (b); it''s',\n  `one` text,\n"
        "  `two` longtext,\n  PRIMARY KEY (`id`),\n  KEY `k` (`one`(20))\n) ENGINE=InnoDB;\n"
        "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `x` AFTER "
        "INSERT ON `t` FOR EACH ROW BEGIN INSERT INTO log VALUES (1); INSERT INTO log VALUES (2); END */;;\n"
        "DELIMITER ;\n"
        f"LOCK TABLES `t` WRITE;\nINSERT INTO `t` VALUES {lines};\nUNLOCK TABLES;\n"
    )


def as_mysql_lines(rows: Table) -> str:
    begin = "# hand-made\nCREATE TABLE t (id int, one text, two text) ENGINE=MyISAM;\n"
    return begin + "".join(
        f"INSERT IGNORE INTO t (`id`, `one`, `two`) VALUES ({number}, _utf8mb4 {mysql(one)}, {mysql(two)})"
        " ON DUPLICATE KEY UPDATE `one` = VALUES(`one`);\n"
        for number, one, two in rows
    )


def as_postgres_inserts(rows: Table) -> str:
    begin = (
        "--\n-- PostgreSQL database dump\n--\n\\restrict abc'def\nSET standard_conforming_strings = on;\n"
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $body$\nBEGIN\n"
        "INSERT INTO log VALUES ('x');\nRETURN NEW;\nEND;\n$body$;\n"
        "CREATE TABLE public.t (\n    id integer NOT NULL,\n    one text DEFAULT 'a;b'::text,\n"
        "    two text,\n    CONSTRAINT c CHECK ((id > 0))\n);\n"
    )
    return begin + "".join(
        f"INSERT INTO public.t VALUES ({number}, {standard(one)}, {standard(two)}) ON CONFLICT DO NOTHING;\n"
        for number, one, two in rows
    )


def as_postgres_escapes(rows: Table) -> str:
    def escaped(text: str | None) -> str:
        if text is None:
            return "NULL"
        if "$q$" not in text and "$" not in text:
            return f"$q${text}$q$"
        text = (
            text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("😀", "\\U0001F600")
        )
        return f"E'{text}'::text"

    begin = "SET standard_conforming_strings = on;\n"
    return begin + "".join(
        f'INSERT INTO "public"."t" ("id", "one", "two") VALUES ({number}, {escaped(one)}, {escaped(two)});\n'
        for number, one, two in rows
    )


def as_postgres_copy(rows: Table) -> str:
    def cell(text: str | None) -> str:
        if text is None:
            return "\\N"
        for plain, escape in (
            ("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\x0b", "\\v"), ("é", "\\303\\251"),
        ):  # fmt: skip
            text = text.replace(plain, escape)
        return text

    lines = "".join(f"{number}\t{cell(one)}\t{cell(two)}\n" for number, one, two in rows)
    return (
        "--\n-- PostgreSQL database dump\n--\nCREATE TABLE public.t (id integer, one text, two text);\n"
        f"COPY public.t (id, one, two) FROM stdin;\n{lines}\\.\n\nALTER TABLE t ADD PRIMARY KEY (id);\n"
    )


def as_sqlite(rows: Table) -> str:
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, one TEXT, [two] TEXT, UNIQUE (id))")
    base.execute("CREATE TABLE log (x)")
    base.execute("CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (1); SELECT CASE WHEN 1"
                 " THEN 2 END; INSERT INTO log VALUES (2); END")  # fmt: skip
    base.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n or None, o, t) for n, o, t in rows[1:]])
    base.execute("DELETE FROM log")
    base.execute("INSERT INTO t VALUES (0, ?, ?)", rows[0][1:])
    base.execute("DELETE FROM log")
    base.commit()
    return "\n".join(base.iterdump())


def as_sqlite_shell(rows: Table) -> str:
    def cell(text: str | None) -> str:
        """How sqlite3's .dump keeps each row on one line."""
        if text is None or not ({"\n", "\r"} & set(text)):
            return standard(text)
        if "\\n" in text or "\\r" in text:
            digits = "".join(f"\\{ord(char):04x}" if char < " " or char == "\\" else char for char in text)
            return f"unistr({standard(digits)})"
        text = standard(text.replace("\n", "\\n").replace("\r", "\\r"))
        return f"replace(replace({text},'\\n',char(10)),'\\r',char(13))"

    begin = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(id INTEGER, one TEXT, two TEXT);\n"
    lines = "".join(f"INSERT INTO t VALUES({number},{cell(one)},{cell(two)});\n" for number, one, two in rows)
    return (
        begin + lines + "DELETE FROM sqlite_sequence;\nINSERT INTO sqlite_sequence VALUES('t',40);\nCOMMIT;\n"
    )


def as_sql_server(rows: Table) -> str:
    begin = (
        "USE [shop]\nGO\nSET ANSI_NULLS ON\nGO\n"
        "CREATE TABLE [dbo].[t](\n\t[id] [int] IDENTITY(1,1) NOT NULL,\n"
        "\t[one] [nvarchar](max) NULL,\n\t[two] [nvarchar](max) NULL,\n CONSTRAINT [k] PRIMARY KEY CLUSTERED "
        "([id] ASC)\n) ON [PRIMARY]\nGO\nSET IDENTITY_INSERT [dbo].[t] ON \n"
    )
    return begin + "".join(
        f"INSERT [dbo].[t] ([id], [one], [two]) VALUES ({number}, N{standard(one)}, "
        f"{'NULL' if two is None else 'CAST(N' + standard(two) + ' AS nvarchar(max))'})\n"
        + ("GO\n" if number % 7 == 0 else "")
        for number, one, two in rows
    )


def as_oracle(rows: Table) -> str:
    def cell(text: str | None) -> str:
        if text and "~'" not in text and "\n" not in text:
            return f"q'~{text}~'"
        return "null" if text is None else standard(text).replace("\n", "' || chr(10) || '")

    begin = "REM INSERTING into T's\nSET DEFINE OFF;\n"
    return begin + "".join(
        f"Insert into T (ID,ONE,TWO) values ({number},{cell(one)},to_clob({cell(two)}));\n"
        if two is not None
        else f"Insert into T (ID,ONE,TWO) values ({number},{cell(one)},null);\n"
        for number, one, two in rows
    )


WRITERS: dict[str, tuple[Callable[[Table], str], str]] = {
    "mysqldump": (as_mysql, "mysql"),
    "mysql a row a statement": (as_mysql_lines, "mysql"),
    "pg_dump --inserts": (as_postgres_inserts, "postgres"),
    "postgres escapes and dollars": (as_postgres_escapes, "postgres"),
    "pg_dump": (as_postgres_copy, "postgres"),
    "sqlite iterdump": (as_sqlite, "sqlite"),
    "sqlite shell": (as_sqlite_shell, "sqlite"),
    "sql server": (as_sql_server, "mssql"),
    "oracle": (as_oracle, "oracle"),
}


def read(text: str | bytes, table: str | None = None) -> list[Row]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_sql(io.BufferedReader(io.BytesIO(data), 1 << 20), "a.sql", table))  # type: ignore[arg-type]


def values(text: str | bytes, table: str | None = None) -> list[dict[str, object]]:
    found = read(text, table)
    assert not [row.problem for row in found if row.problem]
    return [row.values for row in found]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block", [1 << 20, 61], ids=["whole", "cut"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_text_comes_back_as_it_was(
    name: str, block: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqllexer, "BLOCK", block)
    write, dialect = WRITERS[name]
    rows = tables(seed)
    text = write(rows)
    assert detect_sql_dialect(text) == dialect
    found = [tuple(row.values()) for row in values(text, "t")]
    assert [(int(str(number)), one, two) for number, one, two in found] == rows


CREATE = "CREATE TABLE t (a int, b text);\n"
STATEMENTS = {
    "INSERT INTO t VALUES (1, 'x'), (2, 'y');": [(1, "x"), (2, "y")],
    "insert or replace into t values(1,'x') returning a;": [(1, "x")],
    "REPLACE INTO t (b, a) VALUES ('x', 1);": [("x", 1)],
    "INSERT INTO t SET a = 1, b = 'x;';": [(1, "x;")],
    "INSERT INTO t VALUES ROW(1, 'x'), ROW(2, 'y');": [(1, "x"), (2, "y")],
    "INSERT INTO t (a, b) OVERRIDING SYSTEM VALUE VALUES (1, 'x') ON CONFLICT (a) DO UPDATE SET b = 'z';": [
        (1, "x")
    ],
    "INSERT ALL INTO t (a, b) VALUES (1, 'x') INTO t (a, b) VALUES (2, 'y') SELECT 1 FROM dual;": [
        (1, "x"),
        (2, "y"),
    ],
    "BEGIN INSERT INTO t VALUES (1, 'x'); INSERT INTO t VALUES (2, 'y'); END;": [(1, "x"), (2, "y")],
    "INSERT INTO t VALUES (1, 'x' 'y' -- so\n 'z');": [(1, "xyz")],
    "INSERT INTO t VALUES (-1, 1e5), (+2, .5), (0, 12345678901234567890.5);": [
        (-1, 1e5),
        (2, 0.5),
        (0, "12345678901234567890.5"),
    ],
    "INSERT INTO t VALUES (TRUE, x'68c3a9'), (false, '2020-01-01'::timestamp without time zone);": [
        (True, "hé"),
        (False, "2020-01-01"),
    ],
    "INSERT INTO t VALUES (DATE '2020-01-01', TO_DATE('2020-02-01', 'YYYY-MM-DD'));": [
        ("2020-01-01", "2020-02-01")
    ],
    "INSERT INTO t VALUES (TO_DATE(NULL, 'YYYY'), TO_CLOB('a') || TO_CLOB('b'));": [(None, "ab")],
    "INSERT INTO t VALUES (('x'), ARRAY['y', 'z']::text[]);": [("x", ["y", "z"])],
    "INSERT INTO t VALUES (U&'\\0041\\+01F600', 'a' || chr(10) || 'b');": [("A😀", "a\nb")],
    "INSERT INTO t VALUES (CAST('5' AS varchar(3)), CONVERT(varchar(10), 'x', 120));": [("5", "x")],
    "INSERT INTO t VALUES (1, $$it's; a -- text$$), (2, $x$a $$ b$x$);": [
        (1, "it's; a -- text"),
        (2, "a $$ b"),
    ],
    'INSERT INTO t VALUES (1, "it\'s");': [(1, "it's")],
    "/* a /* b */ ; */ INSERT INTO t -- x; (\nVALUES (1, /* ; */ 'x');": [(1, "x")],
    'INSERT INTO "my schema"."t" ("a", "b") VALUES (1, NULL);': [(1, None)],
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_values_of_every_way_to_insert(statement: str) -> None:
    found = [tuple(row.values()) for row in values(CREATE + statement)]
    assert found == STATEMENTS[statement]


def test_what_only_the_database_knows_is_left_out_of_the_row() -> None:
    (row,) = values(CREATE + "INSERT INTO t VALUES (DEFAULT, now());")
    assert row == {}
    (row,) = values(CREATE + "INSERT INTO t VALUES (nextval('s'::regclass), x'00ff');")
    assert row == {}


PROBLEMS = {
    "INSERT INTO t SELECT a, b FROM other;": ["an INSERT without plain values"],
    "INSERT INTO t DEFAULT VALUES;": ["an INSERT without plain values"],
    "INSERT INTO t VALUES (1, upper('x')), (2, 'y');": ["an SQL value that a database must compute", ""],
    "INSERT INTO t VALUES (1 + 2, 'x'), (2, (SELECT 1)), (3, 'z');": [
        "an SQL value that a database must compute",
        "an SQL value that a database must compute",
        "",
    ],
    "INSERT INTO t VALUES (1), (2, 'y', 3), (3, 'z');": [
        "not as many values as columns",
        "not as many values as columns",
        "",
    ],
    "INSERT INTO t VALUES (1, 'x'; INSERT INTO t VALUES (2, 'y');": ["SQL that cannot be parsed", ""],
    "INSERT INTO t VALUES (1, 'x') (2, 'y'); INSERT INTO t VALUES (3, 'z');": [
        "",
        "SQL that cannot be parsed",
        "",
    ],
    "INSERT INTO t VALUES (1, 'x'), (2, 'y": ["", "an SQL text that is not closed"],
    "WITH q AS (SELECT 1) INSERT INTO t SELECT * FROM q;": ["an INSERT without plain values"],
    "LOAD DATA INFILE 'x.csv' INTO TABLE t;": ["a statement that loads rows from another file"],
    "COPY t (a, b) FROM '/x.csv';": ["a statement that loads rows from another file"],
    "COPY t (a, b) FROM stdin;\n1\tx\n2\n\\.\n": ["", "not as many values as columns"],
    "COPY t (a, b) FROM stdin;\n1\tx": ["", "a COPY block without an end"],
}


@pytest.mark.parametrize("statement", PROBLEMS)
def test_what_is_no_row_is_a_counted_problem(statement: str) -> None:
    first = "INSERT INTO t VALUES (0, 'first');\n"
    assert [row.problem for row in read(CREATE + first + statement)] == ["", *PROBLEMS[statement]]


def test_tables_are_asked_for_with_their_rows() -> None:
    text = (
        CREATE + "INSERT INTO t VALUES (1, 'x');\nINSERT INTO shop.u VALUES (1), (2);\n"
        "INSERT INTO t VALUES (2, 'y');"
    )
    with pytest.raises(DataError, match=r"several tables: t \(2\), shop\.u \(2\)\..*data\.field=t"):
        read(text)
    assert values(text, "T") == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert values(text, "u") == values(text, "shop.u") == [{"column 1": 1}, {"column 1": 2}]
    with pytest.raises(DataError, match=r"no INSERT into 'v'.*rows of t, shop.u"):
        read(text, "v")
    same = "INSERT INTO one.t VALUES (1);INSERT INTO two.t VALUES (2);"
    for table in (None, "t"):
        with pytest.raises(DataError, match="several tables"):
            read(same, table)


def test_a_quote_that_takes_statements_along_is_an_error_of_the_file() -> None:
    rows = [f"INSERT INTO t VALUES ({number}, 'row {number}');\n" for number in range(20)]
    rows[5] = "INSERT INTO t VALUES (5, 'row's');\n"
    with pytest.raises(DataError, match=r"20 lines begin with INSERT, and only .* were read"):
        read(CREATE + "".join(rows))


def test_a_backslash_before_a_quote_tells_the_dialect() -> None:
    assert values(CREATE + r"INSERT INTO t VALUES (1, 'it\'s\n');") == [{"a": 1, "b": "it's\n"}]
    assert values(CREATE + r"INSERT INTO t VALUES (1, 'C:\'), (2, 'C:\n');")[1] == {"a": 2, "b": "C:\\n"}
    (row,) = values(
        "SET standard_conforming_strings = off;\n" + CREATE + r"INSERT INTO t VALUES (1, 'it\'s');"
    )
    assert row["b"] == "it's"


def test_bytes_that_are_no_text_are_named() -> None:
    rows = read(CREATE.encode() + b"INSERT INTO t VALUES (1, 'a\xff'), (2, 'b');" + "-- é".encode() * 40)
    assert [row.problem for row in rows] == ["bytes that are not utf-8 text", ""]


def test_a_huge_text_takes_no_other_row_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqllexer, "MAX_TEXT", 5000)
    monkeypatch.setattr(sqllexer, "BLOCK", 100)
    text = (
        CREATE
        + "INSERT INTO t VALUES (1, 'a'), (2, '"
        + "it''s .\n" * 9000
        + "'), (3, 'c');\nINSERT INTO t VALUES (4, 'd');"
    )
    rows = read(text)
    assert [(row.values.get("a"), row.problem) for row in rows] == [
        (1, ""),
        (None, "an SQL text that is too long"),
        (3, ""),
        (4, ""),
    ]
    assert rows[3].origin.line == 9003


def test_memory_stays_flat(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.sql"
    with open(path, "w") as file:
        file.write(CREATE + "INSERT INTO t VALUES (0, 'x')")
        for number in range(60_000):
            file.write(f",\n({number}, '{'words ' * 30}')")
        file.write(";\n")
    tracemalloc.start()
    with open(path, "rb", buffering=1 << 20) as source:
        assert sum(1 for _row in read_sql(source, "a.sql")) == 60_001
    assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 1.5
    tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO `t` VALUES (1,'a'),(2,'b');\n",
        "-- a dump\n\nSET NAMES utf8;\nINSERT INTO t (id, text) VALUES (1,'a'),(2,'b');\n",
        "--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n"
        "COPY t (id, text) FROM stdin;\n1\ta\n2\tb\n\\.\n",
        "PRAGMA foreign_keys=OFF;\nCREATE TABLE t(id, text);\n"
        "INSERT INTO t VALUES(1,'a');\nINSERT INTO t VALUES(2,'b');\n",
    ],
)
def test_a_dump_is_one_whatever_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.dump"
    path.write_text(text)
    (resolved,) = resolve_data_paths(DataSection(path=str(path)))
    assert [list(row.values.values())[1] for file in resolved.files for row in file.iterate_rows()] == [
        "a",
        "b",
    ]
    path.write_text("Select a seat. Insert into the slot what values you have.\n")
    assert resolve_data_paths(DataSection(path=str(path)))[0].files[0].kind == "text"


def test_values_for_later_versions_of_mysql_are_values() -> None:
    text = (
        "SET NAMES utf8;\nCREATE TABLE `t` (`id` int, /*!50705 `place` GEOMETRY NOT NULL,*/ `text` text);\n"
        "INSERT INTO `t` VALUES (1,/*!50705 0x0000000001F0,*/'it\\'s'),\n(2,/*!50705 0x6869,*/'b');\n"
    )
    assert detect_sql_dialect(text) == "mysql"
    rows = list(read_sql(io.BufferedReader(io.BytesIO(text.encode())), "a.sql"))  # type: ignore[arg-type]
    assert not any(row.problem for row in rows)
    assert [row.values for row in rows] == [
        {"id": 1, "text": "it's"},  # bytes that are no text are no value
        {"id": 2, "place": "hi", "text": "b"},
    ]


def test_several_tables_are_told_before_what_the_first_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    one = "".join(f"INSERT INTO one VALUES ({n}, {n}, {n});\n" for n in range(300))
    path.write_text(one + "INSERT INTO two VALUES ('hi', 'hello');\n")
    with pytest.raises(DataError, match=r"several tables: one \(300\), two \(1\)"):
        list(DataReading(DataSection(path=str(path))))
