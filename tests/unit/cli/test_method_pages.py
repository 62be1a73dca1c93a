"""The pages of methods: `docs/methods.md` is what the declarations say now, and a terminal shows the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tui_tuner.cli.command_list import app
from tui_tuner.cli.reference.method_page import list_method_pages, make_method_page
from tui_tuner.cli.reference.page_layout import write_markdown, write_plain
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.tasks import TASKS

ROOT = Path(__file__).parents[3]


def test_the_committed_document_is_what_the_declarations_say() -> None:
    committed = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert committed == write_markdown(list_method_pages()), (
        "docs/methods.md is out of date; `make docs` or `python docs/methods.py` writes it anew"
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_page_has_everything_that_the_form_has(name: str) -> None:
    kind, page = METHODS[name], make_method_page(METHODS[name])
    assert (page.label, page.summary, page.paragraph) == (kind.label, kind.help, kind.explanation)
    assert [field.name for field in page.fields] == [f"method.{field}" for field in kind.fields]
    assert all(field.default and field.accepted and field.help for field in page.fields)
    told = dict(page.facts)
    assert told["Paper"] == kind.paper
    assert told["Learning rate"] and told["What is saved"]
    for task in TASKS.values():
        assert task.without.get(name, "") in told["Tasks"]
    assert all(f"method.{field}" in told["What it needs"] for field in kind.needs)


def test_lines_keep_to_the_width_of_the_terminal() -> None:
    for page in list_method_pages():
        text = "\n".join(write_plain(page, 60))
        assert max(map(len, text.splitlines())) <= 80  # longer than 60 are single words alone
        assert all(field.name in text for field in page.fields)


def test_the_command_lists_explains_and_refuses() -> None:
    run = CliRunner().invoke
    listed = run(app, ["methods"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [*METHODS]
    explained = run(app, ["methods", "lora"])
    assert "Hu et al. 2021" in explained.stdout
    assert "method.rank" in explained.stdout
    assert json.loads(run(app, ["methods", "lora", "--json"]).stdout)["name"] == "lora"
    refused = run(app, ["methods", "lorra"])
    assert refused.exit_code != 0
    assert "lora" in str(refused.exception)


def test_the_document_is_made_without_a_training_library() -> None:
    program = (
        "import sys; from tui_tuner.cli.reference.method_page import list_method_pages; list_method_pages();"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
