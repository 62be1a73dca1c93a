"""An app that no fault ends: each becomes a sentence on the screen and an entry in a log; the rest goes on.

Whatever a worker, a handler of a message or a key, a timer, a screen that is made or painted raises comes
here. A screen that cannot be made or painted is left. What is raised outside of all that is a defect in
Textual's core: the app ends then, with one sentence and exit code 1, and a run in this process goes on.
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
from tui_tuner.ui.guard.faultlog import FaultLog, error_text
from tui_tuner.ui.guard.keys import OrderlyApp
from tui_tuner.ui.guard.repaint import Painted
from tui_tuner.ui.guard.textual_base import Survivor, WorkStopped, mend

R = TypeVar("R")
_SAME_AGAIN = 60.0  # seconds in which the same fault is not told twice
_AT_ONCE = 3  # notices of faults in a while
_TELL = 20.0  # seconds that a notice stands
_PAINTING = ("_compositor.py", "_refresh_layout", "_compositor_refresh", "render_lines", "_styles_cache.py")
_PAINTS = 3  # faults in painting in a while after which a screen is left
_WHILE = 5.0  # seconds

mend()


class Works:
    """A screen or widget that has work done in workers, and shows that it waits for it."""

    def work_failed(self, group: str, words: str) -> None:
        """A worker of this group has failed; the app has told why."""


class SturdyApp(OrderlyApp[R], Survivor):
    """See the module's text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l", "paint_again", _("Paint again"), show=False),
    ]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.fault_log = FaultLog()
        self.fatal = ""  # the sentence about a fault that ended the app
        self.painted = Painted()
        self._workers = _Workers(self)
        self._turning = False
        self._seen: dict[str, float] = {}
        self._told: list[float] = []
        self._painted_badly: list[float] = []
        self._left: set[Screen[Any]] = set()

    def get_driver_class(self) -> type[Driver]:
        found = super().get_driver_class()
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
        """For a terminal that something else has written on."""
        self.painted.forget()
        self.refresh(layout=True)

    # ---- where faults come from ------------------------------------------------------------------------

    def fault_in(self, pump: MessagePump, message: Message, error: BaseException) -> None:
        """A handler of a message raised; called by `textual_base`."""
        self._survive(error, pump, isinstance(message, events.Compose))

    def fault_outside(self, error: BaseException) -> None:
        """The same, from another thread."""
        self.call_later(self._survive, error)

    async def _dispatch_message(self, message: Message) -> None:
        self._turning = self._turning or isinstance(message, events.Compose)
        if isinstance(message, events.Resize | events.AppFocus):  # a terminal may have moved its lines
            self.painted.forget()
        await super()._dispatch_message(message)

    async def _process_messages_loop(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self._loop_fault)
        try:
            await super()._process_messages_loop()
        finally:
            self._turning = False

    def _handle_exception(self, error: Exception) -> None:
        if not self._turning or _is_outermost(error):
            self.end_by(error)
        elif threading.get_ident() != self._thread_id:
            self.fault_outside(error)
        else:
            pump = active_message_pump.get(None)
            self._survive(error, pump, isinstance(pump, Widget) and not pump._is_mounted)

    def _loop_fault(self, _loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        """Of a task that nobody waits for."""
        self.fault_log.note(f"{what.get('message', '')}", what.get("exception"))

    # ---- what becomes of them --------------------------------------------------------------------------

    def _survive(self, error: BaseException, pump: MessagePump | None = None, made: bool = False) -> None:
        """Note it, say it, and leave the screen if it cannot be shown."""
        worker = None
        if isinstance(error, WorkerFailed):
            error = error.error
            with contextlib.suppress(NoActiveWorker):
                worker = get_current_worker()
                pump = worker.node
        try:
            place = _screen_of(pump)
            title = _title(place)
            part = f"{type(pump).__name__}.{worker.name}" if worker else type(pump).__name__
            if self._is_new(f"{part} {error_text(error, 300)} {_where(error)}"):
                path = self.fault_log.note(f"{title}, {part}", error)
                if place is None or place not in self._left:
                    self._say_fault(error, title, path)
            if worker is not None and isinstance(pump, Works):
                pump.work_failed(worker.group, one_line(error_text(error, 300), 200))
            if place is not None and (made or (_is_painting(error) and self._paints_badly(place))):
                self._left.add(place)
                self.call_later(self._leave_screen, place)
        except Exception as second:  # not even that
            self.fault_log.note("while a fault was told", second)

    def _is_new(self, fault: str) -> bool:
        """Whether it was not told a moment ago: what a timer raises comes again and again."""
        now = time.monotonic()
        self._seen = {key: when for key, when in self._seen.items() if now - when < _SAME_AGAIN}
        return self._seen.setdefault(fault, now) == now

    def _say_fault(self, error: BaseException, title: str, path: str) -> None:
        now = time.monotonic()
        self._told = [when for when in self._told if now - when < _WHILE] + [now]
        if len(self._told) > _AT_ONCE:
            return  # it stands in the log
        words = one_line(error_text(error, 300), 200)
        if isinstance(error, TunerError):
            words = one_line(error, 300)
        if isinstance(error, MemoryError):
            said = _("Something failed in {where}: memory ran out. Everything else goes on.", where=title)
        else:
            said = _(
                "Something failed in {where}: {error}. Everything else goes on.",
                where=title,
                error=words.rstrip("."),
            )
        if path:
            said = f"{said} {_('Try again, or report it with {path}.', path=one_line(path))}"
        else:
            said = f"{said} {_('No log of it could be written.')}"
        self.notify(said, severity="error", timeout=_TELL, markup=False)

    def _paints_badly(self, place: Screen[Any]) -> bool:
        """Whether this was one time too many; else paint it once more."""
        now = time.monotonic()
        self._painted_badly = [when for when in self._painted_badly if now - when < _WHILE] + [now]
        if len(self._painted_badly) >= _PAINTS:
            self._painted_badly = []
            return True
        place.call_later(place.refresh, layout=True)
        return False

    async def _leave_screen(self, place: Screen[Any]) -> None:
        """To the screen below one that cannot be shown; instead of the lowest one, a plain one."""
        from tui_tuner.ui.guard.plain import PlainScreen

        if place is not self.screen:
            if place in self.screen_stack:  # under a dialog
                self.set_timer(0.5, partial(self._leave_screen, place))
            return
        if len(self.screen_stack) > 1:
            await self.pop_screen()
        else:
            await self.switch_screen(PlainScreen(str(self.fault_log.path)))
        self._left.discard(place)

    # ---- the end after all -----------------------------------------------------------------------------

    def end_by(self, error: BaseException) -> None:
        """A fault that nothing can go on after."""
        self._return_code = 1
        path = self.fault_log.note("the screen ended", error)
        if not self.fatal:
            self.fatal = _("The screen ended by a fault: {error}.", error=one_line(error_text(error), 300))
            if path:
                self.fatal = f"{self.fatal} {_('Report it with {path}.', path=one_line(path))}"
        self._close_messages_no_wait()

    def _fatal_error(self) -> None:
        self.end_by(sys.exc_info()[1] or RuntimeError("unknown"))

    def panic(self, *renderables: Any) -> None:
        self.end_by(RuntimeError(" ".join(type(one).__name__ for one in renderables)))


class _Workers(WorkerManager):
    """Makes an `Exception` of whatever else work raises: Textual would leave the worker running for ever."""

    def _new_worker(self, work: Any, node: Any, **more: Any) -> Worker[Any]:
        if more.get("thread") and callable(work) and not asyncio.iscoroutinefunction(work):
            name = more.get("name") or getattr(getattr(work, "func", work), "__name__", "")
            more = {**more, "name": name, "description": more.get("description") or repr(work)[:200]}
            work = _Guarded(work)
        return super()._new_worker(work, node, **more)


class _Guarded:
    def __init__(self, work: Any) -> None:
        self._work = work

    def __call__(self) -> Any:
        try:
            return self._work()
        except Exception:
            raise
        except BaseException as error:
            raise WorkStopped(error_text(error)) from error


def _title(place: Screen[Any] | None) -> str:
    """What a screen calls itself."""
    with contextlib.suppress(Exception):
        crumb = getattr(place, "crumb", None)
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


def _where(error: BaseException) -> str:
    """The line that raised it."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}" if step is not None else ""


def _is_outermost(error: BaseException) -> bool:
    """Whether Textual's core caught it around everything: its loop is over, or has not begun."""
    first = error.__traceback__
    return first is not None and first.tb_frame.f_code.co_name in ("_process_messages", "app_prelude")


def _is_painting(error: BaseException) -> bool:
    """Whether it was raised while a screen was laid out or painted."""
    step = error.__traceback__
    for _unused in range(500):
        if step is None:
            return False
        code = step.tb_frame.f_code
        if code.co_name in _PAINTING or code.co_filename.endswith(_PAINTING):
            return True
        step = step.tb_next
    return False
