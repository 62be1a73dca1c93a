"""The shape of the source tree: no import circles, no crowded folders, no empty rooms, no endless files.

import-linter holds the layers of the rooms; this holds what lies inside them. Every import counts: those
inside functions and those for type checkers alone (`if TYPE_CHECKING`) tie two files together just as well.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

from tui_tuner.config.kinds.methods import METHODS

ROOT = Path(__file__).parents[2]
PACKAGE = "tui_tuner"
MOST_FILES = 20  # modules in one folder
MOST_LINES = 450  # in a module; files stay near 300
WING_DEPTH = 3  # parts of the name of a package inside a room: tui_tuner.data.sources

Graph = dict[str, set[str]]


@lru_cache(maxsize=1)
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package has the name of its folder."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@lru_cache(maxsize=1)
def import_graph() -> Graph:
    """Module -> modules of this package that it imports, anywhere in the file."""
    return {name: imports_of(name, path) for name, path in modules().items()}


def imports_of(name: str, path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, name, path.stem == "__init__")
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                found.add(whole if whole in modules() else source)
    return (found & modules().keys()) - {name}


def absolute(node: ast.ImportFrom, name: str, package: bool) -> str:
    """The full name of what is imported from; `from . import x` is relative to the package of the file."""
    if not node.level:
        return node.module or ""
    here = name.split(".")
    kept = here[: len(here) - node.level + int(package)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that reach each other (strongly connected components), by Tarjan's algorithm."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in stack:
                lowest[node] = min(lowest[node], index[target])
        if lowest[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def reached(graph: Graph, start: str) -> set[str]:
    """Everything that a module imports, directly or through others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def wing_of(module: str) -> str | None:
    """The package inside a room that a module belongs to; None for the modules of the room itself."""
    wing = ".".join(module.split(".")[:WING_DEPTH])
    path = modules().get(wing)
    is_package = path is not None and path.name == "__init__.py" and wing.count(".") == WING_DEPTH - 1
    return wing if is_package else None


def wing_graph(graph: Graph) -> Graph:
    """Package -> packages that it needs, also by way of modules that belong to none (`data.records`)."""
    needs: Graph = {}
    for module in graph:
        wing = wing_of(module)
        if wing is not None:
            needed = {wing_of(target) for target in reached(graph, module)} - {None, wing}
            needs.setdefault(wing, set()).update(name for name in needed if name is not None)
    return needs


def folders() -> list[Path]:
    return sorted({path.parent for top in (PACKAGE, "tests") for path in (ROOT / top).rglob("*.py")})


def filled(folder: Path) -> list[Path]:
    """The modules of a folder; an empty `__init__.py` is none."""
    return [path for path in folder.glob("*.py") if path.name != "__init__.py" or path.stat().st_size]


def test_no_module_imports_itself_through_others():
    assert cycles(import_graph()) == []


def test_packages_inside_a_room_need_each_other_in_one_direction_only():
    assert cycles(wing_graph(import_graph())) == []


def test_no_folder_is_crowded():
    crowded = {str(folder.relative_to(ROOT)): len(filled(folder)) for folder in folders()}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}


def test_no_module_is_endless():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_package_is_empty():
    packages = [path.parent for path in (ROOT / PACKAGE).rglob("__init__.py")]
    empty = [
        str(folder.relative_to(ROOT))
        for folder in packages
        if not filled(folder) and not any(path.stat().st_size for path in folder.rglob("*.py"))
    ]
    assert empty == []


def compares_a_task(source: str) -> bool:
    """Whether code compares `something.task`, or looks it up in a literal, instead of asking the task."""
    return any(
        isinstance(part, ast.Attribute) and part.attr == "task"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare | ast.Match)
        for side in ([node.left, *node.comparators] if isinstance(node, ast.Compare) else [node.subject])
        for part in ast.walk(side)
    )


def test_nobody_asks_which_task_it_is():
    """What depends on the task is an attribute or method of it, or a fact in `config.kinds.tasks.TASKS`."""
    asking = [
        name
        for name, path in modules().items()
        if not name.startswith((f"{PACKAGE}.tasks", f"{PACKAGE}.config"))
        and compares_a_task(path.read_text(encoding="utf-8"))
    ]
    assert asking == []


@pytest.mark.parametrize(
    "source",
    [
        'if config.task == "sft": pass',
        'found = run.config.task in ("sft", "dpo")',
        "match config.task:\n    case _: pass",
        'names = [x for x in y if "sft" != x.task]',
    ],
)
def test_asking_which_task_it_is_is_found(source):
    assert compares_a_task(source)
    assert not compares_a_task("find_task(config.task).objective(config)")


# Names of methods that mean nothing else in this code; `full` and `freeze` are words of other things too
METHOD_NAMES = set(METHODS) - {"full", "freeze"}


def names_its_method(node: ast.AST) -> bool:
    """Whether an expression is the name of a run's method: `config.method.kind`, `get("method.kind")`."""
    if isinstance(node, ast.Attribute) and node.attr == "kind":
        owner = node.value
        name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        return name in ("method", "section")
    return isinstance(node, ast.Call) and any(
        isinstance(one, ast.Constant) and one.value == "method.kind" for one in node.args
    )


def compares_a_method(source: str) -> bool:
    """Whether code compares the name of a method, or looks it up in a literal, and asks no trait."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            patterns = [part for case in node.cases for part in ast.walk(case.pattern)]
            sides = [node.subject, *(one.value for one in patterns if isinstance(one, ast.MatchValue))]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            sides = [node.slice, *(key for key in node.value.keys if key is not None)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            literal = isinstance(node.func.value, ast.Dict)
            sides = [*node.args, *(key for key in node.func.value.keys if key)] if literal else []
        else:
            continue
        for part in (part for side in sides for part in ast.walk(side)):
            if names_its_method(part) or (isinstance(part, ast.Constant) and part.value in METHOD_NAMES):
                return True
    return False


def test_nobody_asks_which_method_it_is():
    """What depends on the method is a trait in `config.kinds.methods.METHODS`, or asked of `find_method`."""
    allowed = (f"{PACKAGE}.methods", f"{PACKAGE}.config")
    asking = [
        name
        for name, path in modules().items()
        if not name.startswith(allowed) and compares_a_method(path.read_text(encoding="utf-8"))
    ]
    assert asking == []


def test_nobody_asks_a_model_of_peft_what_it_is():
    """A model remembers its method (`methods.attached`): an adapter need not be one of peft."""
    asking = [
        name
        for name, path in modules().items()
        if not name.startswith(f"{PACKAGE}.methods") and "peft_config" in path.read_text(encoding="utf-8")
    ]
    assert asking == []


@pytest.mark.parametrize(
    "source",
    [
        'if config.method.kind == "full": pass',
        'many = method.kind in ("lora", "dora")',
        'if section.kind == "freeze": pass',
        'if get("method.kind") != "prefix_tuning": pass',
        'if "lora" in kind.without: pass',
        'match name:\n    case "ia3": pass',
        "match config.method.kind:\n    case _: pass",
        'rate = {"lora": 1, "full": 2}[name]',
        "rate = {1: 2}[config.method.kind]",
        'rate = {"vera": 1}.get(name, 2)',
        'if at(draft, "method.kind") == name: pass',
    ],
)
def test_asking_which_method_it_is_is_found(source):
    assert compares_a_method(source)


@pytest.mark.parametrize(
    "source",
    [
        "config.method.has(Trait.ADAPTER)",
        "find_method(config.method.kind).attach(model, config, kind)",
        'way = {"method.kind": "lora"}',
        'if family.qk_norm == "full": pass',
        'if option.path == "method.kind": pass',
        'if device.kind == "cuda": pass',
        "METHODS[config.method.kind].label",
    ],
)
def test_what_asks_a_method_itself_is_not_taken_for_that(source):
    assert not compares_a_method(source)


def test_the_step_knows_no_loss():
    """The engine keeps retry, resume and accumulation, and asks an objective for everything else."""
    step = [name for name in modules() if name.startswith(f"{PACKAGE}.training.step")]
    allowed = {f"{PACKAGE}.compute.forward", f"{PACKAGE}.compute.numeric"}
    known = {target for name in step for target in import_graph()[name]}
    assert {name for name in known if name.startswith(f"{PACKAGE}.compute")} <= allowed
    assert {name for name in known if name.startswith(f"{PACKAGE}.objectives")} == {
        f"{PACKAGE}.objectives.objective"
    }


def test_circles_are_found():
    """The checks above would say nothing if the search for circles found none."""
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    "source",
    [
        "from tui_tuner.text import one_line",
        "import tui_tuner.text",
        "def later():\n    from tui_tuner import text",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tui_tuner.text import sanitize",
        "from ..text import one_line",
    ],
)
def test_every_way_of_importing_counts(tmp_path, source):
    file = tmp_path / "module.py"
    file.write_text(source, encoding="utf-8")
    assert imports_of("tui_tuner.data.module", file) == {"tui_tuner.text"}
