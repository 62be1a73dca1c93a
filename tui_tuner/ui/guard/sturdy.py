"""An app that survives faults: each becomes a notice on the screen and a log entry; the rest continues.

Errors of workers, of handlers of messages and keys, of timers, and of screens that are mounted or painted are
caught here. A screen that cannot be mounted or painted is closed. An error anywhere else is a defect in
Textual's core: the app then ends with one sentence and exit code 1, and a run in this process continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from functools import partial
from typing import Any, ClassVar, TypeVar

from textual import events
from textual._compositor import CompositorUpdate
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.message import Message
from textual.message_pump import MessagePump, active_message_pump
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import NoActiveWorker, Worker, WorkerFailed, get_current_worker
from textual.worker_manager import WorkerManager

from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.guard.faultlog import FaultLog, format_error_safely
from tui_tuner.ui.guard.keys import OrderlyApp
from tui_tuner.ui.guard.repaint import PaintRecord
from tui_tuner.ui.guard.textual_patches import Survivor, WorkStopped, patch_textual

R = TypeVar("R")
_SAME_AGAIN = 60.0  # seconds in which the same fault is not reported twice
_AT_ONCE = 3  # notices of faults in a while
_TELL = 20.0  # seconds that a notice is shown
_PAINTING = ("_compositor.py", "_refresh_layout", "_compositor_refresh", "render_lines", "_styles_cache.py")
_PAINTS = 3  # painting faults within _WHILE after which a screen is closed
_WHILE = 5.0  # seconds

patch_textual()


class WorkerOwner:
    """A screen or widget that shows that it waits for a worker."""

    def work_failed(self, group: str, words: str) -> None:
        """Show that a worker of this group failed; the app has already reported why."""


class SturdyApp(OrderlyApp[R], Survivor):
    """Survive faults of screens, widgets and workers; see the module's docstring."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l", "paint_again", _("Redraw"), show=False),
    ]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.fault_log = FaultLog()
        self.fatal = ""  # the sentence about a fault that ended the app
        self.painted = PaintRecord()
        # Textual offers no hook for its worker manager: the private attribute is replaced.
        self._workers = _SafeWorkerManager(self)
        self._turning = False
        self._seen: dict[str, float] = {}
        self._told: list[float] = []
        self._painted_badly: list[float] = []
        self._left: set[Screen[Any]] = set()

    def get_driver_class(self) -> type[Driver]:
        found = super().get_driver_class()
        # Compared by name: importing the class would fail on systems without termios.
        if found.__name__ != "LinuxDriver":
            return found
        from tui_tuner.ui.guard.driver import TunerDriver

        return TunerDriver

    # ---- what is sent to the terminal ------------------------------------------------------------------

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if isinstance(renderable, CompositorUpdate):
            renderable = self.painted.only_changes(renderable)
        super()._display(screen, renderable)

    def action_paint_again(self) -> None:
        """Redraw everything, for a terminal that another program has written to."""
        self.painted.forget_lines()
        self.refresh(layout=True)

    # ---- where faults come from ------------------------------------------------------------------------

    def fault_in(self, pump: MessagePump, message: Message, error: BaseException) -> None:
        """Survive an error of a message handler; called by `textual_patches`."""
        self._handle_fault(error, pump, isinstance(message, events.Compose))

    def fault_outside(self, error: BaseException) -> None:
        """Survive an error that was raised in another thread."""
        self.call_later(self._handle_fault, error)

    async def _dispatch_message(self, message: Message) -> None:
        # From the first Compose on there is a loop to survive in; errors before it must end the app.
        self._turning = self._turning or isinstance(message, events.Compose)
        # Terminals reflow their lines when resized, and some lose them while in the background.
        if isinstance(message, events.Resize | events.AppFocus):
            self.painted.forget_lines()
        await super()._dispatch_message(message)

    async def _process_messages_loop(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self._loop_fault)
        try:
            await super()._process_messages_loop()
        finally:
            self._turning = False

    def _handle_exception(self, error: Exception) -> None:
        # Textual calls this for every error that reached its core. Only those raised with no loop left are
        # fatal.
        if not self._turning or _is_outermost(error):
            self.end_by(error)
        elif threading.get_ident() != self._thread_id:
            self.fault_outside(error)
        else:
            pump = active_message_pump.get(None)
            self._handle_fault(error, pump, isinstance(pump, Widget) and not pump._is_mounted)

    def _loop_fault(self, _loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        """Log the error of a task that is not awaited."""
        self.fault_log.record_fault(f"{what.get('message', '')}", what.get("exception"))

    # ---- how they are handled --------------------------------------------------------------------------

    def _handle_fault(
        self, error: BaseException, pump: MessagePump | None = None, made: bool = False
    ) -> None:
        """Log and report an error, and close the screen if it cannot be shown."""
        worker = None
        if isinstance(error, WorkerFailed):
            # Textual wraps a worker's error; the cause and the widget that started the worker are wanted.
            error = error.error
            with contextlib.suppress(NoActiveWorker):
                worker = get_current_worker()
                pump = worker.node
        try:
            place = _screen_of(pump)
            title = _describe_screen(place)
            part = f"{type(pump).__name__}.{worker.name}" if worker else type(pump).__name__
            if self._is_new(f"{part} {format_error_safely(error, 300)} {_locate_error(error)}"):
                path = self.fault_log.record_fault(f"{title}, {part}", error)
                # A screen that is about to close may fail some more times; its first notice is enough.
                if place is None or place not in self._left:
                    self._say_fault(error, title, path)
            if worker is not None and isinstance(pump, WorkerOwner):
                pump.work_failed(worker.group, one_line(format_error_safely(error, 300), 200))
            if place is not None and (made or (_is_painting(error) and self._paints_badly(place))):
                self._left.add(place)
                self.call_later(self._leave_screen, place)
        except Exception as second:  # the error's own `str` or a half-mounted widget may raise here
            self.fault_log.record_fault("while a fault was reported", second)

    def _is_new(self, fault: str) -> bool:
        """Return whether a fault was not reported lately: a timer raises the same one again and again."""
        now = time.monotonic()
        self._seen = {key: when for key, when in self._seen.items() if now - when < _SAME_AGAIN}
        return self._seen.setdefault(fault, now) == now

    def _say_fault(self, error: BaseException, title: str, path: str) -> None:
        now = time.monotonic()
        self._told = [when for when in self._told if now - when < _WHILE] + [now]
        if len(self._told) > _AT_ONCE:
            return  # more notices would cover the screen; the log has it
        words = one_line(format_error_safely(error, 300), 200)
        if isinstance(error, TunerError):
            words = one_line(error, 300)
        if isinstance(error, MemoryError):
            said = _("Something failed in {where}: out of memory. Everything else continues.", where=title)
        else:
            said = _(
                "Something failed in {where}: {error}. Everything else continues.",
                where=title,
                error=words.rstrip("."),
            )
        if path:
            said = f"{said} {_('Try again, or report it with {path}.', path=one_line(path))}"
        else:
            said = f"{said} {_('It could not be written to the log.')}"
        self.notify(said, severity="error", timeout=_TELL, markup=False)

    def _paints_badly(self, place: Screen[Any]) -> bool:
        """Return whether a screen failed to paint too often; otherwise have it painted once more."""
        now = time.monotonic()
        self._painted_badly = [when for when in self._painted_badly if now - when < _WHILE] + [now]
        if len(self._painted_badly) >= _PAINTS:
            self._painted_badly = []
            return True
        place.call_later(place.refresh, layout=True)
        return False

    async def _leave_screen(self, place: Screen[Any]) -> None:
        """Close a screen that cannot be shown; the lowest one is replaced by a plain screen."""
        from tui_tuner.ui.guard.plain_screen import PlainScreen

        if place is not self.screen:
            # A dialog is on top of it: only the top screen can be popped, so wait until it is closed.
            if place in self.screen_stack:
                self.set_timer(0.5, partial(self._leave_screen, place))
            return
        if len(self.screen_stack) > 1:
            await self.pop_screen()
        else:
            await self.switch_screen(PlainScreen(str(self.fault_log.file_path)))
        self._left.discard(place)

    # ---- fatal errors ----------------------------------------------------------------------------------

    def end_by(self, error: BaseException) -> None:
        """End the app after an error that it cannot survive."""
        self._return_code = 1
        path = self.fault_log.record_fault("the screen ended", error)
        # Closing may raise further errors: the first one is the cause.
        if not self.fatal:
            self.fatal = _(
                "The screen ended because of an error: {error}.",
                error=one_line(format_error_safely(error), 300),
            )
            if path:
                self.fatal = f"{self.fatal} {_('Report it with {path}.', path=one_line(path))}"
        self._close_messages_no_wait()

    def _fatal_error(self) -> None:
        self.end_by(sys.exc_info()[1] or RuntimeError("unknown"))

    def panic(self, *renderables: Any) -> None:
        self.end_by(RuntimeError(" ".join(type(one).__name__ for one in renderables)))


class _SafeWorkerManager(WorkerManager):
    """Turn a worker's `BaseException` into an `Exception`, or Textual would leave it running forever."""

    def _new_worker(self, work: Any, node: Any, **more: Any) -> Worker[Any]:
        if more.get("thread") and callable(work) and not asyncio.iscoroutinefunction(work):
            name = more.get("name") or getattr(getattr(work, "func", work), "__name__", "")
            more = {**more, "name": name, "description": more.get("description") or repr(work)[:200]}
            # The wrapper hides the function's name, which Textual would take for the worker's.
            work = _GuardedWork(work)
        return super()._new_worker(work, node, **more)


class _GuardedWork:
    def __init__(self, work: Any) -> None:
        self._work = work

    def __call__(self) -> Any:
        try:
            return self._work()
        except Exception:
            raise
        except BaseException as error:
            raise WorkStopped(format_error_safely(error)) from error


def _describe_screen(place: Screen[Any] | None) -> str:
    """Return the name of a screen as its breadcrumb shows it."""
    with contextlib.suppress(Exception):
        crumb = getattr(place, "build_crumb", None)
        name = one_line(crumb().plain, 40) if crumb else ""
        if name:
            return name
    return _("the workbench")


def _screen_of(pump: MessagePump | None) -> Screen[Any] | None:
    with contextlib.suppress(Exception):
        if isinstance(pump, Screen):
            return pump
        if isinstance(pump, Widget):
            return pump.screen
    return None


def _locate_error(error: BaseException) -> str:
    """Return file and line of the code that raised an error."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}" if step is not None else ""


def _is_outermost(error: BaseException) -> bool:
    """Return whether Textual's core caught an error outside of its message loop."""
    first = error.__traceback__
    return first is not None and first.tb_frame.f_code.co_name in ("_process_messages", "app_prelude")


def _is_painting(error: BaseException) -> bool:
    """Return whether an error was raised while a screen was laid out or painted."""
    step = error.__traceback__
    # A traceback of an endless recursion is too long to walk whole in the event loop.
    for _unused in range(500):
        if step is None:
            return False
        code = step.tb_frame.f_code
        if code.co_name in _PAINTING or code.co_filename.endswith(_PAINTING):
            return True
        step = step.tb_next
    return False
