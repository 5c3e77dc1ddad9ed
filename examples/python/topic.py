"""A topic of one's own: publishes to it, and follows its state. Needs the package: `pip install ./sdk/python`.

Usage: topic.py [COUNT]
"""

import asyncio
import os
import sys
from decimal import Decimal

from bond import Client

SERVER = os.environ.get("BOND_URL", "http://localhost:8000")
TOPIC = "prices.XX0000000017"


async def publish(client: Client) -> None:
    bid = Decimal("99.40")
    await client.publish(TOPIC, [{"type": "snapshot", "payload": {"bid": bid, "currency": "EUR"}}])
    while True:
        bid += Decimal("0.05")
        # A delta changes what it names, and leaves the rest of the state alone.
        await client.publish(TOPIC, [{"type": "delta", "payload": {"bid": bid}}])
        await asyncio.sleep(0.1)


async def main(count: int) -> None:
    async with Client(SERVER) as client:
        publishing = asyncio.create_task(publish(client))
        async for price in client.topic(TOPIC):
            print(f"{price.epoch}:{price.seq}", price.state["bid"], price.state["currency"], sep="\t", flush=True)
            count -= 1
            if count == 0:
                break
        publishing.cancel()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
