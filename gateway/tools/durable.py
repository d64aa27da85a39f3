"""Changes of the database by calls that may be cut off: a turn is stopped, a client goes away."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def carried_out(job: "asyncio.Future[T]", unattended: Callable[[T], object]) -> T:
    """The result of a job that is queued for the writer.

    The writer carries it out though who waits for it is cancelled. Then nobody is left to do what follows from it, so
    `unattended` is called with the result. Raises what the job raises.
    """

    def ended(job: "asyncio.Future[T]") -> None:
        if not job.cancelled() and job.exception() is None:
            unattended(job.result())

    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        job.add_done_callback(ended)
        raise
