"""Tagged sentences in every layout: each token is one, and a comment only what cannot be a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.errors import DataError


def read(path: Path, text: str, **options: Any) -> list[ReadRow]:
    path.write_bytes(text.encode())
    return list(DataReading(DataSection(path=str(path), **options)))


def sentences(path: Path, text: str, **options: Any) -> list[tuple[list[str], list[str | int]]]:
    found = []
    for item in read(path, text, **options):
        assert item.record is not None and item.record.kind == "tagged", item.problem
        found.append((item.record.tokens, item.record.tags))
    return found


TWEETS = "@ann\tO\n#London\tB-location\n#fun\tO\nis\tO\n\n#only\tO\n\nHello\tO\nworld\tO\n"
WANTED = [
    (["@ann", "#London", "#fun", "is"], ["O", "B-location", "O", "O"]),
    (["#only"], ["O"]),
    (["Hello", "world"], ["O", "O"]),
]


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "a.iob", "a.txt", "sentences.conll.txt"])
@pytest.mark.parametrize("blank", ["\t", " ", "  "])
def test_a_token_that_begins_with_a_hash_is_a_token(tmp_path: Path, name: str, blank: str) -> None:
    for end in ("\n", "\r\n"):
        text = TWEETS.replace("\t", blank).replace("\n", end)
        assert sentences(tmp_path / name, text) == WANTED
        assert sentences(tmp_path / name, text.rstrip()) == WANTED
        assert sentences(tmp_path / name, f"-DOCSTART-{blank}O{end}{end}" + text) == WANTED


def test_comments_are_left_out_where_they_are_comments(tmp_path: Path) -> None:
    text = "# made by hand\n# in two lines\nEU B-ORG\n# O\nsays O\n\n\n# another\n# O\nhash O\n"
    assert sentences(tmp_path / "a.conll", text) == [
        (["EU", "#", "says"], ["B-ORG", "O", "O"]),
        (["#", "hash"], ["O", "O"]),
    ]


UNIVERSAL = """# newdoc id = 1
# text = Vámonos al #mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
2.1\tgone\tir\tVERB\t_\t_\t_\t_\t_\tCopyOf=1
3\t#mar\tmar\tNOUN\tN\t_\t1\tobl\t_\tSpaceAfter=No
4\ta b\ta b\tX\tX\t_\t1\tdep\t_\t_

# text = .
1\t.\t.\tPUNCT\t.\t_\t0\troot\t_\t_
"""


@pytest.mark.parametrize("name", ["a.conllu", "a.txt"])
def test_universal_dependencies(tmp_path: Path, name: str) -> None:
    wanted = [(["Vamos", "nos", "#mar", "a b"], ["VERB", "PRON", "NOUN", "X"]), (["."], ["PUNCT"])]
    assert sentences(tmp_path / name, UNIVERSAL) == wanted
    other = {"tokens": "tokens", "tags": "deprel"}
    assert sentences(tmp_path / name, UNIVERSAL, columns=other)[0][1] == ["root", "obj", "obl", "dep"]


def test_more_columns_and_numbered_tokens(tmp_path: Path) -> None:
    text = "EU NNP B-NP B-ORG\nsays VBZ B-VP O\n\n. . O O\n"
    assert sentences(tmp_path / "a.conll", text)[0] == (["EU", "says"], ["B-ORG", "O"])
    chosen = {"tokens": "tokens", "tags": "column 2"}
    assert sentences(tmp_path / "a.conll", text, columns=chosen)[0][1] == ["NNP", "VBZ"]
    numbered = "# http://x\n1\tEU\tB-ORG\n2\tsays\tO\n\n# http://y\n1\tNo\tO\n2\t4\tO\n"
    assert sentences(tmp_path / "b.conll", numbered)[1] == (["No", "4"], ["O", "O"])


def test_a_line_with_other_columns_is_a_problem_of_its_sentence(tmp_path: Path) -> None:
    found = read(tmp_path / "a.conll", "a O\nb\n\nc O\nd e O\n\nf O\n")
    assert [bool(item.problem) for item in found] == [True, True, False]
    assert found[0].problem and found[0].problem.reason == "1 columns where the file has 2"
    assert [item.row.origin.line for item in found] == [1, 4, 7]


def test_other_text_stays_text(tmp_path: Path) -> None:
    for text in (
        "It is O\nSo it is\n",
        "Paris\tLondon\nBerlin\tRome\n",
        "one line O\nanother line, longer O\n",
        "chapter I-X\nthe end\n",
    ):
        for item in read(tmp_path / "a.txt", text):
            assert item.record is not None and item.record.kind == "text"
    (first, *_others) = read(tmp_path / "a.txt", TWEETS, format="text")
    assert first.record is not None and first.record.kind == "text" and first.record.text == "@ann\tO"


GERMAN = '#\thttp://example.org/a\t[2010-07-04]\n1\tAnna\tB-PER\tO\n2\t"\tO\tO\n3\tkam\tO\tO\n\n'


def test_tagged_sentences_under_the_name_of_a_table(tmp_path: Path) -> None:
    text = GERMAN.replace("Anna\tB-PER\tO", "Anna\tO\tB-PER") * 2
    assert sentences(tmp_path / "a.tsv", text) == [(["Anna", '"', "kam"], ["B-PER", "O", "O"])] * 2


def test_tags_in_small_letters(tmp_path: Path) -> None:
    assert sentences(tmp_path / "a.txt", "It b-np\nis o\n\nNo o\n") == [
        (["It", "is"], ["b-np", "o"]),
        (["No"], ["o"]),
    ]


def test_words_with_tags_of_another_kind_are_asked_about_and_read_as_told(tmp_path: Path) -> None:
    block = "".join(f"Ann{n} NNP\nsees{n} VBZ\nit{n} PRP\n\n" for n in range(4))
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match="looks like tagged sentences") as error:
        read(path, block)
    assert "--set data.format=token_tags" in (error.value.hint or "")
    found = sentences(path, block, format="token_tags")
    assert found[0] == (["Ann0", "sees0", "it0"], ["NNP", "VBZ", "PRP"]) and len(found) == 4
    assert len(read(path, block, format="text")) == 12


@pytest.mark.parametrize(
    "text",
    [
        "Two words\nand two\n\nmore lines\nof four\n\nthat rhyme\nnot much\n\n"
        "with each\nother here\n\nat all\nsome time\n",
        "one two\nthree four five\n\nsix seven\n",
    ],
)
def test_verses_are_text(tmp_path: Path, text: str) -> None:
    found = read(tmp_path / "a.txt", text)
    assert len(found) == sum(bool(line.strip()) for line in text.split("\n"))
    assert all(item.format == "text" for item in found)


def test_another_column_may_be_the_tag(tmp_path: Path) -> None:
    """CoNLL-2003 as it was published: four columns, and a line between documents."""
    parts = ["-DOCSTART- -X- O O", "EU NNP I-NP I-ORG\nrejects VBZ I-VP O", "Peter NNP I-NP I-PER"]
    text = "\n\n".join([*parts, parts[0]]) + "\n"
    for name in ("eng.train", "eng.testa", "train.txt"):
        assert sentences(tmp_path / name, text)[0] == (["EU", "rejects"], ["I-ORG", "O"])
        found = sentences(tmp_path / name, text, columns={"tags": "column 2"})
        assert found == [(["EU", "rejects"], ["NNP", "VBZ"]), (["Peter"], ["NNP"])]
