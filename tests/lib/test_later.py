"""Many ends that are told at once, from other threads, all arrive in the loop."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from kube_ballast.later import Teller

THREADS, EACH = 8, 2_000


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads interrupt each other in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_no_end_is_lost_however_many_threads_tell() -> None:
    arrived: list[int] = []

    async def listen() -> None:
        loop, all_told = asyncio.get_running_loop(), asyncio.Event()
        teller = Teller(loop)

        def settle() -> None:
            arrived.append(1)
            if len(arrived) == THREADS * EACH:
                all_told.set()

        def tell() -> None:
            for _ in range(EACH):
                teller.tell(settle)

        threads = [threading.Thread(target=tell) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(all_told.wait(), 30)
        for thread in threads:
            thread.join()

    asyncio.run(listen())
    assert len(arrived) == THREADS * EACH


def test_one_wake_up_serves_all_that_ended_before_it() -> None:
    calls: list[object] = []

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        teller = Teller(loop)
        for number in range(3):
            teller.tell(lambda number=number: calls.append(number))
        wake_ups = len(loop._ready)  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        calls.append(wake_ups)

    asyncio.run(listen())
    assert calls == [0, 1, 2, 1]


def test_a_loop_that_has_ended_is_told_in_vain() -> None:
    loop = asyncio.new_event_loop()
    teller = Teller(loop)
    loop.close()
    teller.tell(lambda: pytest.fail("nobody asks any more"))
