# make demo   a simulated pair on this machine, broken in every way (as root or not)
# make test   everything that a change must pass
# make docs   the pages that are generated: the policies' and the ABI's
# make sdk    what the author of a policy in Rust needs, into target/sdk
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: demo build dist docs sdk test test-windows lint fmt clean need need-test

# Arguments for the demo: make demo ARGS="--stay"
ARGS ?=

demo: need
	cargo build --profile demo -p lockstep -p lockstep-telisca
	cargo run --quiet --profile demo -p lockstep -- demo $(ARGS)

build: need
	cargo build -p lockstep -p lockstep-telisca -p lockstep-finesse -p lockstep-cic -p lockstep-eservices

# What is shipped: minutes of linking for the last third of speed.
dist: need
	cargo build --profile dist -p lockstep -p lockstep-telisca -p lockstep-finesse -p lockstep-cic -p lockstep-eservices

test: need-test lint
	cargo build --workspace
	.ci/windows
	.ci/test

# The agent on Windows, under Wine.
test-windows: need-test
	cargo build --workspace
	.ci/windows
	cargo nextest run -p lockstep-tests --test windows

lint: need
	@.ci/need cargo-fmt cargo-clippy
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings

docs: need
	BLESS=1 cargo test --quiet -p lockstep-tests --test docs

sdk: need
	deploy/sdk target/sdk

fmt:
	cargo fmt --all

clean:
	cargo clean

need:
	@.ci/need cargo rustc cc cmake make

# The end-to-end tests run in network namespaces of their own, the systemd driver's against a systemd of their own, those of the
# XMPP probe against a prosody, those of a foreign balancer behind an HAProxy; curl comes to the nodes directly.
need-test: need
	@.ci/need unshare nsenter ip nft dbus-daemon systemctl prosody haproxy curl
