"""Stop requests (Ctrl-C, a scheduler's SIGTERM) that wait for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked for a stop."""

    def __init__(self) -> None:
        self.made = False


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM inside the block; a second SIGINT stops at once.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if request.made and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.made = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
