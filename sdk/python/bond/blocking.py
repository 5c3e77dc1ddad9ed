"""The same for programs without `asyncio`.

    from bond.blocking import listen

    for event in listen("BTC price + tweets every 5s"):
        print(event["symbol"], event["price_close"])
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

from . import client
from .models import Event


def listen(wish: str | dict[str, Any], *, url: str = client.DEFAULT_URL, api_key: str | None = None) -> Iterator[Event]:
    """As `bond.listen`: creates a stream, and yields its events for ever, under the same rules.

    A thread of its own keeps the connection alive while the caller works on an event; it ends with the iterator.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="bond", daemon=True)
    thread.start()
    events = client.listen(wish, url=url, api_key=api_key)

    async def following() -> Event:
        return await anext(events)

    async def end() -> None:
        await events.aclose()
        await loop.shutdown_asyncgens()

    try:
        while True:
            pending = asyncio.run_coroutine_threadsafe(following(), loop)
            try:
                event = pending.result()
            except BaseException:
                pending.cancel()
                raise
            yield event
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
