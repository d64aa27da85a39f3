"""The peer's side of `bench.peer`: a script for an environment of its own, where `gateway` is the peer's package.

`python -I peer_worker.py '{"sessions": 100, "callers": [1], "seconds": 5}'` prints, as JSON, turns a second for each
number of callers. `HERMES_HOME` is the fresh folder that it may fill.
"""

import asyncio
import itertools
import json
import os
import random
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

USER = {"role": "user", "content": "How long does the train from Berlin to Prague take, and is there one at night?"}
ANSWER = {"role": "assistant", "content": "About four hours and a quarter. " * 8}


def main(options: dict[str, Any]) -> dict[str, float]:
    """Measure the peer's session store."""
    config, session = import_module("gateway.config"), import_module("gateway.session")
    store = session.SessionStore(Path(os.environ["HERMES_HOME"]) / "sessions", config.GatewayConfig())
    sources = [_source(config, session, number) for number in range(options["sessions"])]
    _fill(store, sources)
    hot = random.Random(1).sample(sources, min(500, len(sources)))
    return {
        str(callers): asyncio.run(_rate(session.AsyncSessionStore(store), hot, callers, options["seconds"]))
        for callers in options["callers"]
    }


def _source(config: Any, session: Any, number: int) -> Any:  # noqa: ANN401 - the peer's types are not here
    chat = str(100_000_000 + number * 7919)
    return session.SessionSource(
        platform=config.Platform.TELEGRAM,
        chat_id=chat,
        chat_name=f"Person {number}",
        user_id=chat,
        user_name=f"P {number}",
    )


def _fill(store: Any, sources: list[Any]) -> None:  # noqa: ANN401
    """Create the sessions. The index is written once at the end: after each one it would take hours."""
    persist, store._persist_routing_data = store._persist_routing_data, lambda *_: None
    for source in sources:
        store.get_or_create_session(source)
    store._persist_routing_data = persist
    store._save()


async def _rate(store: Any, sources: list[Any], callers: int, seconds: float) -> float:  # noqa: ANN401
    """Turns a second: resolve the session, append two messages, update the session. A call is a quarter of a turn, so
    that a turn which takes longer than the time there is counts as far as it came."""
    calls = 0

    async def work(mine: list[Any]) -> None:
        nonlocal calls
        for source in itertools.cycle(mine):
            entry = await store.get_or_create_session(source)
            calls += 1
            await store.append_to_transcript(entry.session_id, USER)
            calls += 1
            await store.append_to_transcript(entry.session_id, ANSWER)
            calls += 1
            await store.update_session(entry.session_key, last_prompt_tokens=1452)
            calls += 1

    started = perf_counter()
    tasks = [asyncio.create_task(work(sources[first::callers])) for first in range(callers)]
    failed, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in failed:
        task.result()
    rate = calls / 4 / (perf_counter() - started)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return rate


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
    os._exit(0)  # calls that are still under way in threads are not waited for
