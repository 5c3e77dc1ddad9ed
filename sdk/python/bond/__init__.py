"""Python client of Bond: from a sentence to a live market-data feed.

    from bond import listen

    async for event in listen("BTC price + tweets every 5s"):
        print(event["symbol"], event["price_close"])
"""

from .client import Client, listen
from .errors import BondError, Closed, Garbled, Refused
from .fold import merge_patch
from .models import Created, Event, Published, Stream, Token, TopicState
from .topics import Topic

__all__ = [
    "BondError",
    "Client",
    "Closed",
    "Created",
    "Event",
    "Garbled",
    "Published",
    "Refused",
    "Stream",
    "Token",
    "Topic",
    "TopicState",
    "listen",
    "merge_patch",
]
