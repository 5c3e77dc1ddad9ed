"""A first stream: a sentence becomes events. Needs the package: `pip install ./sdk/python`.

Usage: first_stream.py [COUNT]
"""

import asyncio
import os
import sys

from bond import listen

SERVER = os.environ.get("BOND_URL", "http://localhost:8000")


async def main(count: int) -> None:
    async for event in listen("BTC price + tweets every 1s", url=SERVER):
        print(event["window_end"], event["symbol"], event["price_close"], event["tweets"], flush=True)
        count -= 1
        if count == 0:
            return


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
