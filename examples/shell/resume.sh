#!/usr/bin/env bash
# A client that resumes: it connects again after every loss, and goes on after the last event that it has. Needs curl, jq and websocat.
# Usage: resume.sh [COUNT]
set -euo pipefail
server=${BOND_URL:-http://localhost:8000}
left=${1:-50}

stream_id=$(curl -fsS "$server/v1/streams" -H 'content-type: application/json' \
  -d '{"natural_language": "BTC trades tick by tick"}' | jq -r .stream_id)

# Prints new events until enough came, or the connection is lost. Resuming may bring an event again: its number is not above the last one's.
follow() {
  while ((left > 0)) && IFS=$'\t' read -r type epoch seq price; do
    if [[ $type == gap ]]; then echo "a gap: events up to $epoch:$seq cannot be had" >&2; fi
    if [[ $type != trade || ($epoch == "$last_epoch" && $seq -le $last_seq) ]]; then continue; fi
    last_epoch=$epoch last_seq=$seq wait=0.2 left=$((left - 1))
    printf '%s:%s\t%s\n' "$epoch" "$seq" "$price"
  done
}

last_epoch='' last_seq=0 wait=0.2
while ((left > 0)); do
  # A fresh token for each connection: the last one may have expired. Where the stream has ended, this fails, and so does the script.
  ws_url=$(curl -fsS --retry 5 --retry-connrefused -X POST "$server/v1/streams/$stream_id/token" | jq -r .ws_url)
  from=${last_epoch:+&from=$last_epoch:$last_seq}
  follow < <(websocat -qn "$ws_url&control=true$from" </dev/null |
    jq --unbuffered -r '[.type, .epoch, .seq // .to_seq, .price] | @tsv')
  if ((left > 0)); then
    echo "connection lost; connecting again in $wait s" >&2
    sleep "$wait"
    wait=$(awk -v wait="$wait" 'BEGIN { print (wait < 15) ? wait * 2 : 30 }')
  fi
done
