# The targets people and CI use. `make up` and `make test` do all their own set-up.

VENUES ?= sim
DATA_DIR ?= .bond
BOND = target/release/bond
PYTHON ?= python3

CLOUD_DIR ?= .cloud
AUTH ?= false

.PHONY: up down logs test check lint fmt bench demo demo-topics build audit fuzz package cloud-up cloud-down cloud-logs

## Start Bond in the background: simulated venues, or VENUES=live for the real ones.
up: build
	@scripts/up "$(BOND)" "$(DATA_DIR)" --venues $(VENUES) $(ARGS)

## Stop what `make up` started.
down:
	@scripts/down "$(DATA_DIR)"

## Follow the log of what `make up` started.
logs:
	@tail -n 100 -f "$(DATA_DIR)/bond.log"

build:
	@cargo build --release --locked -p bond-edge --bin bond

## Every test: Rust units, behaviour suites, end to end, Python clients.
test:
	@scripts/test "$(PYTHON)"

## Quick feedback: types and lints.
check:
	cargo clippy --locked --workspace --all-targets -- -D warnings

## What must hold of the text: format, lints, docs, layering is among the tests.
lint: check
	cargo fmt --all --check
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

## Licences, sources and advisories of every dependency: crates, npm, Python. Needs the network; installs what it runs.
audit:
	@scripts/audit "$(PYTHON)"

fmt:
	cargo fmt --all

## Lets libFuzzer look for inputs that bring a decoder or a compiler down: RUNS inputs for each target.
RUNS ?= 1500000
fuzz:
	@scripts/fuzz $(RUNS)

## What is deployed to AWS, into dist/: the functions' zips for arm64 and the image, each started once.
package:
	@scripts/package

## Benchmarks against peers, in one run each. Needs Go for one of the peers.
bench:
	@bench/run.sh

## The AWS shape on this machine: emulator, Redis, the deployed stacks and ingest. Over a running one: an upgrade.
## AUTH=true lets the emulator enforce IAM.
cloud-up:
	@scripts/cloud-up --dir "$(CLOUD_DIR)" --venues $(VENUES) $(if $(filter true,$(AUTH)),--auth) $(ARGS)

## End what `make cloud-up` started, and remove what it wrote.
cloud-down:
	@scripts/cloud-down --dir "$(CLOUD_DIR)"

## What the functions and processes of `make cloud-up` wrote.
cloud-logs:
	@scripts/cloud-logs --dir "$(CLOUD_DIR)"

## The first stream, from a sentence to events.
demo: up
	@$(BOND) listen "BTC price + tweets every 5s" --count 5

## A simulated bond desk on topics, and the URLs to follow it by; Ctrl-C ends it.
demo-topics: up
	@$(BOND) demo topics --data-dir "$(DATA_DIR)"
