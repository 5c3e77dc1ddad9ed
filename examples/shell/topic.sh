#!/usr/bin/env bash
# A topic of one's own: publishes to it, and follows it. Needs curl, jq and websocat.
# Usage: topic.sh [COUNT]
set -euo pipefail
server=${BOND_URL:-http://localhost:8000}
count=${1:-10}
topic=prices.XX0000000025

# An event that is sent again under the same key, because its answer was lost, is there once.
publish() {
  curl -fsS --retry 5 --retry-connrefused "$server/v1/topics/$topic/events" -H 'content-type: application/json' \
    -H "idempotency-key: $$-$RANDOM-$RANDOM" -d "{\"events\": [{\"type\": \"$1\", \"payload\": $2}]}" >/dev/null
}
publish snapshot '{"bid": 101.20, "currency": "EUR"}'
for bid in $(seq 101.25 0.05 200); do
  publish delta "{\"bid\": $bid}"
  sleep 0.1
done &
publisher=$!
exec {messages}< <(exec websocat -qn "ws${server#http}/ws?topic=$topic" </dev/null)
follower=$!
trap 'kill "$publisher" "$follower"' EXIT

# The first message is the state as it is; a delta changes what it names.
events='select(.type == "snapshot" or .type == "delta") | "\(.epoch):\(.seq)\t\(.type)\t\(.payload | tojson)"'
head -n "$count" < <(jq --unbuffered -r "$events" <&"$messages")
