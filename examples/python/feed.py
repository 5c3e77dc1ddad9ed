"""A feed: one socket for several venues, without creating a stream. Needs `pip install websockets`.

Usage: feed.py [COUNT]
"""

import asyncio
import json
import os
import sys
from decimal import Decimal

from websockets.asyncio.client import connect

SERVER = os.environ.get("BOND_URL", "http://localhost:8000")
WISH = {"type": "subscribe", "channels": ["trades"], "symbols": ["BTC/USDT"], "exchanges": ["binance", "okx", "bybit"]}


async def main(count: int) -> None:
    async with connect(f"ws{SERVER.removeprefix('http')}/stream") as socket:
        await socket.send(json.dumps(WISH))
        async for frame in socket:
            event = json.loads(frame, parse_float=Decimal)  # every digit that the venue sent
            if event["type"] == "error":
                print(event["code"], event["message"], file=sys.stderr)
            if event["type"] == "trade":
                print(event["exchange"], event["symbol"], event["side"], event["price"], event["size"], flush=True)
                count -= 1
                if count == 0:
                    return


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
