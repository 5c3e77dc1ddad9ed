#!/bin/sh
# Builds and runs the benchmarks: `bench/run.sh [decode] [fanout] [deflate] [latency] [topics] [serverless]`, all of them without a name.
# Arguments after `--` go to each of them.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
BOND_CAPTURES=$(cd "$root" && realpath -m "${BOND_CAPTURES:-../shared/captures}")
BOND_BENCH_HOST=${BOND_BENCH_HOST:-target/release/bond-host}
export BOND_CAPTURES BOND_BENCH_HOST
cd "$root/bench"

names=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    names="$names $1"
    shift
done
[ $# -gt 0 ] && shift
names=${names:-decode fanout deflate latency topics serverless}

# The functions as they are deployed, but for this machine, beside what they are run with.
prepare_serverless() {
    here=$root PYTHON=${PYTHON:-python3}
    . "$root/localstack/environment"
    "$root/scripts/tools/redis" >/dev/null
    (cd .. && cargo build --release --locked --bins -p bond-edge -p bond-cloud -p bond-gateway)
    (cd .. && cargo build --profile lambda --locked --bins -p bond-functions)
    mkdir -p target/serverless
    for binary in release/bond release/bond-cloud release/bond-gateway \
        lambda/api lambda/ws_connect lambda/ws_disconnect lambda/ws_message lambda/fanout; do
        ln -f "../target/$binary" target/serverless/
    done
    export BOND_BINARY="$root/bench/target/serverless/bond"
}

# What is built: Rust's benchmarks only where one of them is to run.
needs_rust=
for name in $names; do
    [ "$name" = topics ] || needs_rust=yes
done

# Not --locked: a dependency that Bond gained is added to the lock file here, and the peers stay as pinned.
[ -z "$needs_rust" ] || cargo build --release
(cd .. && cargo build --release --locked --package bond-edge --bin bond)
if command -v go >/dev/null; then
    (cd peers/centrifuge && go build -o ../bin/centrifuge .)
    case $names in *topics*) (cd peers/k6 && go build -o ../bin/k6 go.k6.io/k6) ;; esac
fi
case $names in *serverless*) prepare_serverless ;; esac

echo "$(uname -srm), $(nproc) cores, $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo), load $(cut -d' ' -f1-3 /proc/loadavg)"
failed=0
for name in $names; do
    case $name in
    topics) "${PYTHON:-python3}" topics.py "$@" || failed=1 ;;
    *) "target/release/$name" "$@" || failed=1 ;;
    esac
done
exit $failed
