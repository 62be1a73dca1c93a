"""Collect every sentence of the program for translators: `python -m tui_tuner.locales [FILE]`.

Sentences are the literals inside `_`, `_n` and `N_`, the help of commands (their docstrings) and the first
lines of presets. Without FILE, `tui_tuner.pot` is written next to this module.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tui_tuner.locales import DOMAIN, FOLDER

PACKAGE = Path(FOLDER).parent
COMMANDS = ("command", "callback")  # decorators that make a function's docstring a help text
HEAD = """msgid ""
msgstr ""
"Project-Id-Version: tui-tuner\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\\n"
"""


@dataclass
class SentenceEntry:
    """A sentence, its plural (empty if it has none), and the places where it occurs."""

    sentence: str
    plural: str = ""
    places: list[str] = field(default_factory=list)


def collect_sentences(root: Path = PACKAGE) -> list[SentenceEntry]:
    """Return every sentence of the program, in the order of files and lines."""
    found: dict[str, SentenceEntry] = {}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.py"))}
    # Typer shows docstrings of commands as help, so they are sentences too.
    commands = {
        name for path, tree in trees.items() if path.parent.name == "cli" for name in _find_commands(tree)
    }
    for path, tree in trees.items():
        helped = commands if path.parent.name == "cli" else set()
        for line, sentence, plural in _find_sentences(tree, helped):
            if not sentence:
                continue
            entry = found.setdefault(sentence, SentenceEntry(sentence))
            # The same sentence may occur with and without a plural; gettext wants one entry.
            entry.plural = entry.plural or plural
            entry.places.append(f"{path.relative_to(root.parent).as_posix()}:{line}")
    for name, sentence in _list_presets(root):
        found.setdefault(sentence, SentenceEntry(sentence)).places.append(f"presets/{name}:1")
    return list(found.values())


def _find_commands(tree: ast.Module) -> Iterator[str]:
    """Yield the names of functions that are commands: `app.command("run")(start.run)`, or decorated."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and _is_registration(node.func)
            and isinstance(node.args[0], ast.Attribute)
        ):
            yield node.args[0].attr
        elif isinstance(node, ast.FunctionDef) and any(map(_is_registration, node.decorator_list)):
            yield node.name


def _is_registration(node: ast.expr) -> bool:
    func = node.func if isinstance(node, ast.Call) else None
    return isinstance(func, ast.Attribute) and func.attr in COMMANDS


def _find_sentences(tree: ast.Module, commands: set[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (line, sentence, plural) of each sentence in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if node.func.id in ("_", "N_") and words and isinstance(words[0], str) and words[0]:
                yield node.lineno, words[0], ""
            elif node.func.id == "_n" and len(words) > 1:
                yield node.lineno, str(words[0]), str(words[1])
        elif isinstance(node, ast.FunctionDef) and node.name in commands:
            yield node.lineno, ast.get_docstring(node) or "", ""


def _list_presets(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the file and the first line of each preset, which is its title in lists."""
    for folder in (root.parent / "presets", root / "presets"):
        for path in sorted(folder.glob("*.yaml")):
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            yield path.name, first.removeprefix("#").strip()


def format_template(entries: Iterable[SentenceEntry]) -> str:
    """Format the entries as a gettext template (POT)."""
    return "\n".join([HEAD, *map(_format_entry, entries)])


def _format_entry(entry: SentenceEntry) -> str:
    lines = [f"#: {place}" for place in entry.places]
    if "{" in entry.sentence:
        lines.append("#, python-brace-format")
    lines.append(f"msgid {_quote_text(entry.sentence)}")
    if entry.plural:
        lines += [f"msgid_plural {_quote_text(entry.plural)}", 'msgstr[0] ""', 'msgstr[1] ""']
    else:
        lines.append('msgstr ""')
    return "\n".join(lines) + "\n"


def _quote_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return '"' + escaped.replace("\n", '\\n"\n"') + '"'


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(FOLDER) / f"{DOMAIN}.pot"
    entries = collect_sentences()
    target.write_text(format_template(entries), encoding="utf-8")
    sys.stdout.write(f"{target}: {len(entries)} sentences\n")


if __name__ == "__main__":
    main()
