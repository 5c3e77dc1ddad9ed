"""Runs the AWS shape of Bond on one machine: emulator, Redis, the deployed stacks, and ingest beside them."""
