#!/usr/bin/env bash
# A first stream: a sentence becomes a URL, and the URL gives events. Needs curl, jq and websocat.
# Usage: first-stream.sh [COUNT]
set -euo pipefail
server=${BOND_URL:-http://localhost:8000}
count=${1:-5}

stream=$(curl -fsS "$server/v1/streams" -H 'content-type: application/json' \
  -d '{"natural_language": "BTC price + tweets every 1s"}')
ws_url=$(jq -r .ws_url <<<"$stream")

# Each frame is one event. -n: websocat reads on though it has nothing to send. -q: it does not complain when enough was read.
head -n "$count" < <(websocat -qn "$ws_url" </dev/null) | jq -c '[.window_end, .symbol, .price_close, .tweets]'
