from __future__ import annotations

import asyncio
import threading

from streamlab.clocks import SYSTEM, HandClock


async def test_a_hand_clock_stands_still_until_it_is_moved():
    clock = HandClock(start_ms=1_000)
    sleeper = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)

    clock.advance(4.9)
    await asyncio.sleep(0)
    assert not sleeper.done()
    assert clock.now_ms() == 5_900

    clock.advance(0.2)
    await sleeper
    assert clock.now_ms() == 6_100


async def test_sleepers_wake_in_the_order_of_their_times():
    clock, woken = HandClock(), list[int]()

    async def sleep(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    sleepers = [asyncio.create_task(sleep(n)) for n in (3, 1, 2)]
    await asyncio.sleep(0)
    clock.advance(10)
    await asyncio.gather(*sleepers)

    assert woken == [1, 2, 3]


async def test_another_thread_may_move_it():
    clock = HandClock()
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)

    thread = threading.Thread(target=clock.advance, args=(1.0,))
    thread.start()
    await sleeper
    thread.join()

    assert clock.running() == 1


async def test_a_cancelled_sleeper_is_passed_over():
    clock = HandClock()
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)

    sleeper.cancel()
    clock.advance(2)
    await asyncio.sleep(0)

    assert sleeper.cancelled()


async def test_no_time_at_all_still_lets_others_run():
    ran = list[int]()
    asyncio.get_running_loop().call_soon(ran.append, 1)

    await HandClock().sleep(0)

    assert ran == [1]


async def test_the_system_clock_never_runs_backwards():
    before = SYSTEM.running()
    await SYSTEM.sleep(-1)

    assert SYSTEM.running() >= before
