"""Waiting for a condition, with a limit: tests never sleep for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    fn: Callable[[], T],
    within: float = 10.0,
    every: float = 0.05,
    retry: type[Exception] | tuple[type[Exception], ...] = AssertionError,
) -> T:
    """Call `fn` until it gives something true, and give that.

    Args:
        fn: the condition; a failed assertion in it (or what `retry` names) counts as not yet.
        within: seconds until the wait fails, with the last answer or the last error.
        every: seconds between two calls.
        retry: exceptions that mean not yet.
    """
    deadline = time.monotonic() + within
    while True:
        error: Exception | None = None
        answer: T | None = None
        try:
            answer = fn()
        except retry as caught:
            error = caught
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not so after {within:g} s; last answer: {answer!r}") from error
        time.sleep(every)
