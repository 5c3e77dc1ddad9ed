#!/usr/bin/env bash
# A feed: one socket for several venues, without creating a stream. Needs jq and websocat.
# Usage: feed.sh [COUNT]
set -euo pipefail
server=${BOND_URL:-http://localhost:8000}
count=${1:-10}

wish='{"type": "subscribe", "channels": ["trades"], "symbols": ["BTC/USDT"], "exchanges": ["binance", "okx", "bybit"]}'

# -n: websocat reads on after it has sent the message. -q: it does not complain when enough was read.
# Heartbeats come too; they are no trades.
trades() {
  websocat -qn "ws${server#http}/stream" <<<"$wish" |
    jq --unbuffered -c 'select(.type == "trade") | [.exchange, .symbol, .side, .price, .size]'
}
head -n "$count" < <(trades)
