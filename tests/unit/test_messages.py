"""A fence: every sentence for a person goes through `tui_tuner.locales`, whole and with named places."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

from tui_tuner.locales.__main__ import collect_sentences, format_template
from tui_tuner.planning.memory.ledger import PARTS

PACKAGE = Path(__file__).parents[2] / "tui_tuner"

# Rooms whose sentences do not go through it; there are none, and none should come.
NOT_YET: tuple[str, ...] = ()

# Where sentences stand: a callee (`.name`: a method or a function of a module) and its arguments.
ERROR = (0, "what", "hint")  # of every subclass of TunerError
POSITIONS: dict[str, tuple[int | str, ...]] = {
    "RowProblem": (0, 1, "reason", "detail"),
    "Problem": (2, 3, "message", "hint"),
    "Finding": (1, 2, "message", "hint"),
    "Outcome": (2, 3, "message", "hint"),
    "HostOutcome": (2, "message"),
    "RequestEnded": (2, "message"),
    "Death": (1, 2, "message", "hint"),
    "GpuFault": (1, 2, "message", "hint"),
    "Warned": (1, 2, "message", "hint"),
    "Log": (0, "message"),
    "OutOfMemory": (3, "message"),
    "Finished": (2, 3, "message", "hint"),
    "Phase": (3, "note"),
    "Resolved": (2, "why"),
    "ResolvedRun": (2, "why"),
    "ResolvedSource": (2, "why"),
    "RunDuration": (8, "basis"),
    "make_noted_problems": (4, 5, "message", "hint"),
    "RoleSet": (1, 2, "label", "help"),
    "TaskKind": (1, 2, "label", "help"),
    "declare_option": (1, 2, "help", "explain"),
    "Metric": (1, 2, "label", "help"),
    "Field": ("description",),
    "Detection": (3,),
    "FormatMatch": (2,),
    "GeneratedAnswer": ("note",),
    "Fitted": (2,),
    "FittedRow": (2,),
    "ModelFit": (2,),
    "Change": (2,),
    "RowCount": (1,),
    "RowsCounted": (1,),
    "Suggestion": (3,),
    "Outlook": (3,),
    "Rate": (2,),
    "BadNumbers": (1,),
    "Resolution": (2,),
    "Text": (0,),
    "_write_to_stderr": (0,),
    "_refuse_node": (1,),
    "_refusal_error": (1,),
    "_refuse_model": (1,),
    "_raise_refusal": (1,),
    "_check_config": (1,),
    "_format_refusal": (1,),
    "_print_proposal": (0,),
    "_make_teller": (0,),
    "._say": (0,),
    "._add_line": (0,),
    "._send_message": (0,),
    "._tell_waiter": (0,),
    "._report_progress": (0,),
    "._warn_once": (0,),
    "._report_wait": (0,),
    "._report_memory": (0,),
    "._report_problem": (0,),
    "._report_duration": (0,),
    "._show_status": (0,),
    "._show_hint": (0,),
    "._show_login_status": (0,),
    "._show_job_status": (0,),
    "say": (0,),
    "print_progress": (0,),
    ".send_json": (0,),
    ".send_words": (0,),
    ".set_note": (0,),
    ".show_notice": (0,),
    ".show_status": (0,),
    ".say_prompt": (0,),
    ".set_right_words": (0,),
    ".show_words": (0,),
    ".notify": (0, "message", "title"),
    ".warn": (1, 2, "message", "hint"),
    ".report_warning": (1, 2, "message", "hint"),
    ".emit": ("message", "hint", "note"),
    ".report_phase": (3, "note"),
    ".report_finish": (2, 3, "message", "hint"),
    ".echo": (0,),
    ".confirm": (0,),
    ".Option": ("help",),
    ".Argument": ("help",),
    ".Typer": ("help", "epilog"),
}
IN_ROOMS: dict[str, dict[str, tuple[int | str, ...]]] = {
    "data/": {
        "Row": (2, "problem"),
        ".count": (2,),
        ".count_row": (2,),
        ".get_count": (2,),
        ".count_step": (0,),
        "ledger.add_note": (0,),
        "notes.append": (0,),
    },
    "planning/": {"notes.append": (0,)},
    "tasks/": {"notes.append": (0,), ".count": (2,), ".get_count": (2,)},
    "objectives/": {"notes.append": (0,)},
    "planning/traps/": {"make_finding": (0, 1, "text", "reason")},
    "cli/": {"problems.append": (0,), "lines.append": (0,), "write": (0,)},
    "headless.py": {"lines.append": (0,), "parts.append": (0,), "._print_line": (1,), "._write": (0,)},
    "ui/": {"Content": (0,), "Binding": (2,), "Static": (0,), "Input": ("placeholder",)},
}
WORDS = ("_", "_n", "N_")
WORDY = re.compile(r"[^\W\d_]{2,}")
PLACE = re.compile(r"\{[a-z_]+(?:![rs])?(?::[^ {}]*(?:\{[a-z_]+\}[^ {}]*)?)?\}")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _errors() -> set[str]:
    """Names of TunerError and of all classes under it that take its arguments."""
    classes = [
        node for _name, tree in _modules() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    ]
    found = {"TunerError"}
    while True:
        more = {
            node.name
            for node in classes
            if found & {base.id for base in node.bases if isinstance(base, ast.Name)}
            and not any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in node.body)
        }
        if more <= found:
            return found
        found |= more


def _callees(func: ast.expr) -> list[str]:
    if isinstance(func, ast.Name):
        return [func.id]
    if isinstance(func, ast.Attribute):
        owner = func.value
        name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
        return [f"{name}.{func.attr}", f".{func.attr}"]
    return []


def _raw(node: ast.expr | None, assigned: dict[str, list[ast.expr]]) -> bool:
    """Whether an expression may be a sentence that went through nothing."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(WORDY.search(node.value))
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.Constant) and _raw(part, {}) for part in node.values)
    if isinstance(node, ast.IfExp):
        return _raw(node.body, assigned) or _raw(node.orelse, assigned)
    if isinstance(node, ast.BoolOp):
        return any(_raw(value, assigned) for value in node.values)
    if isinstance(node, ast.BinOp):
        return _raw(node.left, assigned) or _raw(node.right, assigned)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return not isinstance(node.func.value, ast.Name) and _raw(node.func.value, {})
    if isinstance(node, ast.Name):
        return any(_raw(value, {}) for value in assigned.get(node.id, ()))
    return False


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                for one, value in pairs:
                    if isinstance(one, ast.Name):
                        found.setdefault(one.id, []).append(value)
    return found


def _scopes(tree: ast.Module) -> Iterator[tuple[ast.Call, dict[str, list[ast.expr]]]]:
    """Every call with what the names of its function are assigned."""

    def visit(
        node: ast.AST, known: dict[str, list[ast.expr]]
    ) -> Iterator[tuple[ast.Call, dict[str, list[ast.expr]]]]:
        for child in ast.iter_child_nodes(node):
            inner = {**known, **_assigned(child)} if isinstance(child, Function) else known
            if isinstance(child, ast.Call):
                yield child, known
            yield from visit(child, inner)

    module = {
        name: [value]
        for part in tree.body
        for name, values in _assigned(part).items()
        for value in values
        if isinstance(part, ast.Assign | ast.AnnAssign)
    }
    yield from visit(tree, module)


def _wanted(room: str, call: ast.Call, errors: set[str]) -> tuple[int | str, ...]:
    table = dict(POSITIONS)
    for place, more in IN_ROOMS.items():
        table |= more if room.startswith(place) else {}
    for callee in _callees(call.func):
        if callee in errors:
            return ERROR
        if callee in table:
            return table[callee]
    return ()


def test_no_sentence_reaches_a_person_untranslated() -> None:
    errors = _errors()
    found = []
    for name, tree in _modules():
        if name.startswith(NOT_YET):
            continue
        for call, assigned in _scopes(tree):
            wanted = _wanted(name, call, errors)
            arguments: list[tuple[int | str | None, ast.expr]] = [
                *enumerate(call.args),
                *((keyword.arg, keyword.value) for keyword in call.keywords),
            ]
            for place, value in arguments:
                if place in wanted and _raw(value, assigned):
                    found.append(f"{name}:{value.lineno}: {ast.unparse(value)}")
    assert not found, "put these through _, _n or N_ (tui_tuner.locales):\n" + "\n".join(found)


def _places(sentence: str) -> set[str]:
    """Names of the places of a sentence, those inside format specs too."""
    found = set()
    for _text, name, spec, _conversion in string.Formatter().parse(sentence):
        if name is not None:
            found |= {name} | _places(spec or "")
    return found


def _keys(name: str, assigned: dict[str, list[ast.expr]]) -> set[str]:
    """The keys of a dict that is given as `**name`."""
    dicts = [value for value in assigned.get(name, ()) if isinstance(value, ast.Dict)]
    return {str(key.value) for value in dicts for key in value.keys if isinstance(key, ast.Constant)}


def _mistakes(call: ast.Call, assigned: dict[str, list[ast.expr]]) -> Iterator[str]:
    kind = call.func.id if isinstance(call.func, ast.Name) else ""
    sentences = call.args[: 2 if kind == "_n" else 1]
    given = {keyword.arg for keyword in call.keywords if keyword.arg}
    lent = [k.value.id for k in call.keywords if k.arg is None and isinstance(k.value, ast.Name)]
    maybe = {key for name in lent for key in _keys(name, assigned)}
    used: set[str] = set()
    for sentence in sentences:
        if isinstance(sentence, ast.JoinedStr | ast.BinOp | ast.IfExp | ast.BoolOp) and kind != "_":
            yield "is no literal"
        if isinstance(sentence, ast.JoinedStr) or (
            isinstance(sentence, ast.IfExp) and (_raw(sentence.body, {}) or _raw(sentence.orelse, {}))
        ):
            yield "is no literal"
        if not isinstance(sentence, ast.Constant):
            return  # a sentence that N_ has marked elsewhere
        text = str(sentence.value)
        if text != text.strip():
            yield "begins or ends with a space: it is a piece of a sentence"
        if call.keywords:
            used |= _places(text)
        elif kind == "_" and PLACE.search(text):
            yield "has a place and no value for it"
    if call.keywords and not (given <= used <= given | maybe):
        yield f"has the places {sorted(used)} and gets {sorted(given | maybe)}"


def test_sentences_are_whole_literals_and_their_places_are_the_values_given() -> None:
    found = []
    for name, tree in _modules():
        for call, assigned in _scopes(tree):
            if isinstance(call.func, ast.Name) and call.func.id in WORDS:
                found += [f"{name}:{call.lineno}: {what}" for what in _mistakes(call, assigned)]
    assert not found, "\n".join(found)


def _arguments(function: Function) -> list[ast.arg | None]:
    found = function.args
    return [*found.posonlyargs, *found.args, *found.kwonlyargs, found.vararg, found.kwarg]


def _name(argument: ast.arg | None) -> str:
    return argument.arg if argument is not None else ""


def test_nobody_hides_the_function_behind_a_name_for_what_is_not_wanted() -> None:
    found = []
    for name, tree in _modules():
        imported = any(
            isinstance(node, ast.ImportFrom)
            and node.module == "tui_tuner.locales"
            and "_" in [a.name for a in node.names]
            for node in ast.walk(tree)
        )
        for node in ast.walk(tree) if imported else ():
            if isinstance(node, ast.Name) and node.id == "_" and isinstance(node.ctx, ast.Store):
                found.append(f"{name}:{node.lineno}")
            if isinstance(node, Function) and "_" in map(_name, _arguments(node)):
                found.append(f"{name}:{node.lineno}")
    assert not found, found


def test_what_memory_is_for_can_be_translated() -> None:
    kinds = {
        call.args[2].value
        for name, tree in _modules()
        if name.startswith("planning/memory/")
        for call, _assigned_names in _scopes(tree)
        if isinstance(call.func, ast.Name) and call.func.id == "Buffer" and len(call.args) > 2
        if isinstance(call.args[2], ast.Constant)
    }
    assert kinds and kinds <= set(PARTS)


def test_the_template_for_translators_has_every_kind_of_sentence() -> None:
    entries = {entry.sentence: entry for entry in collect_sentences()}
    assert entries["{count} run, {size}"].plural == "{count} runs, {size}"
    assert entries["holds no rows."].places[0].startswith("tui_tuner/data/")
    assert "Train what a config describes." in entries  # the docstring of a command
    assert "LoRA fine-tuning of a small instruct model." in entries  # the first line of a preset
    text = format_template(entries.values())
    assert 'msgid "{count} run, {size}"\nmsgid_plural "{count} runs, {size}"\nmsgstr[0] ""' in text
    assert "#, python-brace-format\nmsgid" in text
