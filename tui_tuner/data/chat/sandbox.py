"""Run chat templates in Jinja's sandbox, with a meter that ends those which do not end by themselves.

transformers compiles and renders chat templates in Jinja's sandbox, which keeps a template away from the
machine but limits neither time nor memory. `install_sandbox` gives transformers this one instead. The output
of an ordinary template is exactly the same; each loop, call, filter and growing value is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, wraps
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import _PassArg

from tui_tuner.data.chat.cost_meter import (
    LONGEST,
    MOST_ITEMS,
    SHORT,
    TEXT,
    CostMeter,
    TooCostlyError,
    check_format_cost,
    check_method_cost,
    check_operation_cost,
    check_replacement_cost,
)
from tui_tuner.locales import _

_PLAIN = 65_536  # characters that the filters of _SLOW may be given
_SHORTER = ("strip", "lstrip", "rstrip", "startswith", "endswith", "lower", "upper", "removeprefix")
_FREE = ("default", "d", "length", "count", "first", "last", "attr", "abs", "items")
_SLOW = ("striptags", "urlize", "xmlattr", "wordwrap", "title", "pprint", "wordcount", "random")
_TEXT: tuple[str, ...] = (
    "string",
    "tojson",
    "join",
    "pprint",
    "format",
    "escape",
    "e",
    "forceescape",
    "upper",
    "lower",
)
_TEXT += ("trim", "replace", "capitalize", "title", "center", "indent", "truncate", "wordwrap", "striptags")
_TEXT += ("urlize", "urlencode", "xmlattr", "wordcount", "safe")
_failed: dict[Any, TemplateError] = {}  # the last template that could not be compiled
_OPERATORS = frozenset(("*", "**", "%", "//"))


@cache
def install_sandbox() -> None:
    """Make transformers render every chat template of this process in this sandbox."""
    from transformers.utils import chat_template_utils

    chat_template_utils.ImmutableSandboxedEnvironment = _MeteredEnvironment
    # Templates that were compiled before belong to the old sandbox.
    chat_template_utils._compile_jinja_template.cache_clear()


class _MeteredContext(Context):
    """The variables of a template, and the meter of this rendering, which compiled templates call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_meter(CostMeter(self.parent))

    def _set_meter(self, meter: CostMeter) -> None:
        self.meter = meter
        self.tick, self.shown, self.made, self.added = meter.tick, meter.shown, meter.made, meter.added

    def derived(self, locals: dict[str, Any] | None = None) -> Context:
        context = super().derived(locals)
        context._set_meter(self.meter)  # type: ignore[attr-defined]
        return context

    def cut(self, value: Any, part: slice) -> Any:
        """Return a slice, and count its size."""
        found = value[part]
        self.meter.count_text(len(found) if isinstance(found, str) else 8 * len(found))
        return found

    def joined(self, join: Callable[..., Any], parts: tuple[Any, ...]) -> Any:
        """Join texts with `~`, and count the result."""
        for part in parts:
            self.shown(part)
        text = join(parts)
        self.meter.count_text(len(text))
        return text


class _MeteredGenerator(CodeGenerator):
    """Compiles a template so that everything it makes is counted by the meter."""

    def write_commons(self) -> None:
        super().write_commons()
        self.writeline("concat = context.meter.joined")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if self._is_shown_plainly(frame, finalize):
            self.write("(_shown if type(_shown := ")
        else:
            super()._output_child_pre(node, frame, finalize)
            self.write("context.shown(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if self._is_shown_plainly(frame, finalize):
            self.write(") is str else str(context.shown(_shown)))")
        else:
            self.write(")")
            super()._output_child_post(node, frame, finalize)

    def _is_shown_plainly(self, frame: Frame, finalize: Any) -> bool:
        """Return whether a shown value becomes text by `str` alone; texts are counted when joined."""
        return not (frame.eval_ctx.volatile or frame.eval_ctx.autoescape or finalize.src)

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:
        parts: list[nodes.Expr] = []
        one: Any = node
        # A chain of + becomes one call, so that the texts in between are not counted one by one.
        while isinstance(one, nodes.Add):
            parts.append(one.right)
            one = one.left
        self.write("context.added(")
        for part in (one, *reversed(parts)):
            self.visit(part, frame)
            self.write(", ")
        self.write(")")

    def _write_counted(self, node: nodes.Expr, frame: Frame, visit: Callable[..., None], parts: Any) -> None:
        # Constants are as large as the template itself, whose length is limited.
        if all(isinstance(part, nodes.Const) for part in parts):
            visit(node, frame)
            return
        self.write("context.made(")
        visit(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._write_counted(node, frame, super().visit_List, node.items)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._write_counted(node, frame, super().visit_Tuple, node.items)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._write_counted(node, frame, super().visit_Dict, [pair.value for pair in node.items])

    def visit_Name(self, node: nodes.Name, frame: Frame) -> None:
        # Python builds these two from arguments, outside of the other counted operations.
        if node.ctx == "load" and node.name in ("varargs", "kwargs"):
            self.write("context.made(")
            super().visit_Name(node, frame)
            self.write(")")
        else:
            super().visit_Name(node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("context.cut(")
        self.visit(node.node, frame)
        self.write(", slice(")
        for part in (node.arg.start, node.arg.stop, node.arg.step):
            if part is None:
                self.write("None")
            else:
                self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        join = "markup_join" if frame.eval_ctx.autoescape else "str_join"
        if frame.eval_ctx.volatile:
            join = "(markup_join if context.eval_ctx.autoescape else str_join)"
        self.write(f"context.joined({join}, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _LimitedFormatter(SandboxedFormatter):
    """`str.format` with limited widths."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        digits = "".join(letter if letter.isdigit() else " " for letter in format_spec).split()
        if any(len(number) > 7 or int(number) > LONGEST for number in digits):
            raise TooCostlyError(_("it makes a text of millions of characters"))
        return super().format_field(value, format_spec)


class _MeteredEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with a meter."""

    context_class = _MeteredContext
    code_generator_class = _MeteredGenerator
    intercepted_binops = _OPERATORS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `lipsum` writes any number of random words.
        self.globals.pop("lipsum", None)
        self.filters = _LimitedFilters({name: _limit_filter(name, one) for name, one in self.filters.items()})

    def from_string(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        """Compile a template; one that fails does so once, and not again for each row."""
        # transformers caches compiled templates, but not failures.
        known = _failed.get(source)
        if known is not None:
            raise known.with_traceback(None)
        try:
            return super().from_string(source, *args, **kwargs)
        # Python compiles what Jinja generates, and refuses code that is nested too deeply.
        except (RecursionError, MemoryError, SyntaxError):  # of Python's own compiler
            error = TemplateError(_("it is nested too deeply or too long to be compiled"))
        except TemplateError as problem:
            error = problem
        # Only the last one: one template is in use at a time, and its text may be long.
        _failed.clear()
        _failed[source] = error
        raise error from None

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        _count_rounds(source)
        return super()._generate(source, *args, **kwargs)

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:  # type: ignore[override]
        """Join the whole text of a template."""
        pieces = list(pieces)
        if sum(map(len, pieces)) > TEXT:
            raise TooCostlyError(_("it writes text without end"))
        return "".join(pieces)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        context.tick(1)
        check_operation_cost(context.meter, operator, left, right)
        return context.made(self.binop_table[operator](left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __context.tick(12)
        owner = getattr(__obj, "__self__", None)
        # The commonest calls of templates, on short texts, are not worth the checks.
        if type(owner) is str and len(owner) < SHORT and __obj.__name__ in _SHORTER:
            return super().call(__context, __obj, *args, **kwargs)
        if owner is not None and isinstance(owner, str | bytes | int | list | tuple | dict):
            name = getattr(__obj, "__name__", "")
            if name == "join" and args and isinstance(args[0], Iterator):
                # An iterator can be read only once, so the check would leave nothing for the call.
                args = (_collect_items(__context, args[0]), *args[1:])
            check_method_cost(__context.meter, owner, name, args)
        result = super().call(__context, __obj, *args, **kwargs)
        return __context.made(result)

    def wrap_str_format(self, value: Any) -> Any:
        wrapper = super().wrap_str_format(value)
        if wrapper is None:
            return None
        text, mapping = value.__self__, value.__name__ == "format_map"

        @pass_context
        def fill_format(context: Any, *args: Any, **kwargs: Any) -> str:
            if mapping and (kwargs or len(args) != 1):
                # Jinja's own wrapper raises the error for wrong arguments.
                return str(wrapper(*args, **kwargs))
            given = args[0] if mapping else kwargs
            values = [*(() if mapping else args), *(given.values() if isinstance(given, dict) else ())]
            check_format_cost(context.meter, text, values)
            if type(text) is not str:
                return wrapper(*args, **kwargs)  # type: ignore[no-any-return]
            return _LimitedFormatter(self).vformat(text, () if mapping else args, given)

        return fill_format


class _LimitedFilters(dict[str, Any]):
    """Filters by name; one that is added later is limited like the others."""

    def __setitem__(self, name: str, one: Any) -> None:
        super().__setitem__(name, _limit_filter(name, one))


def _limit_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that its input and its result are counted."""
    # They neither make nor read more than one value.
    if name in _FREE:
        return function
    passes = _PassArg.from_obj(function)

    @pass_context
    @wraps(function)
    def run_limited(context: Any, value: Any = None, *args: Any, **kwargs: Any) -> Any:
        # Filters on a short text without arguments are by far the most frequent.
        if args or kwargs or type(value) is not str or len(value) > SHORT:
            value = _check_filter(context, name, value, args, kwargs)
        if passes is None:
            result = function(value, *args, **kwargs)
        elif passes is _PassArg.context:
            result = function(context, value, *args, **kwargs)
        elif passes is _PassArg.eval_context:
            result = function(context.eval_ctx, value, *args, **kwargs)
        else:
            result = function(context.environment, value, *args, **kwargs)
        if type(result) is str and len(result) < SHORT:
            context.meter._text -= len(result)
            return result
        return context.made(result)

    return run_limited


def _check_filter(context: Any, name: str, value: Any, args: Any, kwargs: Any) -> Any:
    """Refuse a filter that would make or take too much; returns the value, an iterator as a list."""
    meter: CostMeter = context.meter
    given = [*args, *kwargs.values()]
    if name in ("join", "sum") and isinstance(value, Iterator | range):
        value = _collect_items(context, iter(value))
    size = len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1
    meter.tick(size // 16 if isinstance(value, str) else 2 * size)
    if name in _SLOW and (size if isinstance(value, str) else sum(meter.measure_value(value))) > _PLAIN:
        raise TooCostlyError(
            _("it gives the filter {name} {size:,} characters or values", name=name, size=size)
        )
    for one in given:
        if isinstance(one, int) and abs(one) > MOST_ITEMS and name not in ("default", "truncate", "int"):
            raise TooCostlyError(_("it gives the filter {name} a number of millions", name=name))
    # These filters turn their input into text first, which may be much larger than the input.
    if name in _TEXT and not isinstance(value, str):
        meter.shown(value)
    longest = max((_measure_growth(one) for one in given), default=0)
    if name == "join":
        items, characters = meter.measure_value(value)
        meter.check_length(items * longest + characters)
    elif name == "replace" and len(given) > 1 and isinstance(value, str):
        check_replacement_cost(meter, value, given[0], given[1])
    elif name == "format":
        check_format_cost(meter, str(value), given)
    elif name == "indent" and isinstance(value, str):
        meter.check_length(size + (value.count("\n") + 1) * longest)
    elif name == "tojson" and given:
        items, characters = meter.measure_value(value)
        meter.check_length(characters + items * longest * 8)
    elif name in ("center", "wordwrap", "truncate"):
        meter.check_length(size * longest if name == "wordwrap" and longest > SHORT else size + longest)
    elif name == "sum" and size > 1000 and any(isinstance(one, list | tuple) for one in given):
        raise TooCostlyError(_("it makes an endless list"))
    return value


def _measure_growth(value: Any) -> int:
    """Return how much longer one argument can make a text."""
    if isinstance(value, int):
        return max(0, value)
    if isinstance(value, list | tuple):
        return sum(map(_measure_growth, value))
    return len(value) if isinstance(value, str) else 0


def _collect_items(context: Any, values: Iterator[Any]) -> list[Any]:
    """Collect the items of an iterator, counting each, so that an endless one is refused."""
    found = []
    for value in values:
        context.tick(1)
        found.append(value)
    return found


def _count_rounds(tree: nodes.Template) -> None:
    """Make each round of a loop, and each call of a macro, count its steps."""
    found: list[Any] = list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)))
    for node in found:
        tick = _make_code(f"context.tick({_count_parts(node.body)})", node.lineno)
        # In front of the body, so that a loop with an empty body is counted too.
        node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
        if isinstance(node, nodes.For) and node.test is not None:
            tick = _make_code(f"context.tick({_count_parts([node.test])})", node.lineno)
            node.test = nodes.And(tick, node.test, lineno=node.lineno)


def _make_code(text: str, line: int) -> nodes.InternalName:
    """Put Python code into a template's tree."""
    # InternalName refuses its constructor; the parser makes its own in the same way.
    made = object.__new__(nodes.InternalName)
    nodes.Node.__init__(made, text, lineno=line)
    return made


def _count_parts(body: list[Any]) -> int:
    """Count the parts of a body that run once; inner loops and macros count themselves."""
    steps, waiting = 1, list(body)
    while waiting:
        node = waiting.pop()
        steps += 1
        if isinstance(node, nodes.For):
            waiting.append(node.iter)
        elif not isinstance(node, nodes.Macro):
            waiting += node.iter_child_nodes()
    return steps
