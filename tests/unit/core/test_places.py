"""Places: first come, first served, also while the limit changes and people give up."""

import asyncio

from gateway.places import Places


class Rig:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.places = Places(lambda: self.limit)
        self.inside: list[str] = []

    def enter(self, name: str) -> "asyncio.Task[None]":
        async def work() -> None:
            await self.places.acquire()
            self.inside.append(name)

        return asyncio.create_task(work())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_and_in_order() -> None:
    rig = Rig(2)
    for name in "abcd":
        rig.enter(name)
    await settle()
    assert rig.inside == ["a", "b"]
    rig.places.release()
    await settle()
    assert rig.inside == ["a", "b", "c"]


async def test_a_higher_limit_lets_more_in_at_once_and_a_lower_one_none_until_enough_have_left() -> None:
    rig = Rig(1)
    for name in "abcdef":
        rig.enter(name)
    await settle()
    rig.limit = 3
    rig.places.refresh()
    await settle()
    assert rig.inside == ["a", "b", "c"]
    rig.limit = 1
    rig.places.refresh()
    for expected in (3, 3, 4):
        rig.places.release()
        await settle()
        assert len(rig.inside) == expected


async def test_who_gives_up_leaves_the_place_to_the_next() -> None:
    rig = Rig(1)
    first, second, third = (rig.enter(name) for name in "abc")
    await first
    rig.places.release()
    second.cancel()  # in the very moment in which it has got its place
    await asyncio.gather(second, return_exceptions=True)
    await asyncio.wait_for(third, 5)
    assert rig.inside == ["a", "c"]


async def test_who_waits_no_more_takes_no_place() -> None:
    rig = Rig(1)
    await rig.enter("a")
    second, third = rig.enter("b"), rig.enter("c")
    await settle()
    second.cancel()
    await settle()
    rig.places.release()
    await asyncio.wait_for(third, 5)
    assert rig.inside == ["a", "c"]
