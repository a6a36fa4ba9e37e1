# make demo   a simulated pair on this machine, broken in every way (as root or not)
# make test   everything that a change must pass
# make dist   what is shipped; make install DESTDIR=/somewhere puts it where a system looks for it
# make model  every state of the handover, within wide bounds: minutes, and gigabytes of memory
# make sim    a whole pair under seeded faults, in virtual time: make sim SEEDS=100000; one seed as a story: make sim SEED=7
# make faults random schedules of real faults: make faults SCHEDULES=1000 SEED=1
# make fuzz   bytes that nobody thought of, for whatever reads a stranger's: a minute each: make fuzz SECONDS_EACH=600 SEED=7
# make soak   failovers that nobody needed, under loss, load and standstills: make soak MINUTES=20
# make unplug the active node's cable is pulled: make unplug RUNS=200 PROFILE=lan
# make rapid  the rapid profile beside an HAProxy, and at which load it begins to fail over falsely: make rapid RUNS=50 MINUTES=0.8
# make cost   what an agent takes of memory and processor: make cost SECONDS_EACH=60
# make bench  the data plane beside HAProxy and nginx, into docs/benchmarks.md: make bench ROUNDS=5 SECONDS_EACH=3 (FORCE=1 on a busy machine)
# make docs   the pages that are generated: the policies' and the ABI's
# make sdk    what the author of a policy in Rust needs, into target/sdk
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: demo build dist install docs sdk test test-windows model sim faults fuzz soak unplug rapid cost figures bench lint fmt clean need need-test need-bench

# Arguments for the demo: make demo ARGS="--stay"
ARGS ?=

demo: need
	cargo build --profile demo -p lockstep -p lockstep-telisca
	cargo run --quiet --profile demo -p lockstep -- demo $(ARGS)

build: need
	cargo build -p lockstep -p lockstep-node -p lockstep-telisca -p lockstep-finesse -p lockstep-cic -p lockstep-eservices

# What is shipped: minutes of linking for the last third of speed.
dist: need
	cargo build --profile dist -p lockstep -p lockstep-node -p lockstep-telisca -p lockstep-finesse -p lockstep-cic -p lockstep-eservices

# What `make dist` has built, where a system looks for it. A node without an edge needs `lockstep-agent` and its unit alone.
DESTDIR ?=
install:
	@[ -x target/dist/lockstep-agent ] || { echo "nothing is built to be installed: say make dist first" >&2; exit 1; }
	install -D -m 755 -t $(DESTDIR)/usr/bin target/dist/lockstep target/dist/lockstep-agent
	install -D -m 644 -t $(DESTDIR)/usr/lib/lockstep/policies target/dist/liblockstep_{telisca,finesse,cic,eservices}.so
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system deploy/systemd/lockstep-edge.service deploy/systemd/lockstep-agent.service

test: need-test lint
	cargo build --workspace
	.ci/test

# Of `make test`, the agent on Windows, under Wine, alone.
test-windows: need-test
	cargo build --workspace
	.ci/windows
	cargo nextest run --workspace --features lockstep-tests/windows --test windows

# One configuration at a time: what is waiting to be looked at is held in memory.
model: need
	MODEL_DEPTH=long MODEL_TRACE=1 cargo test -p lockstep-pair --test model -- --nocapture --test-threads=1

# A failing seed is printed with the command that plays it again and tells what happens.
SEEDS ?= 100000
SIMULATION := cargo test -p lockstep-tests --test simulation
sim: need
ifneq ($(filter command environment,$(origin SEED)),)
	SEED=$(SEED) $(SIMULATION) seed_of_the_environment -- --exact --nocapture
else
	SEEDS=$(SEEDS) $(SIMULATION) hold_together -- --nocapture --test-threads=1
endif

# SCHEDULES of them from SEED on, AT_ONCE at a time. One that fails is printed with the command that plays it again, and what it has left is
# kept in target/tmp/faults-SEED.
SCHEDULES ?= 1000
SEED ?= 1
AT_ONCE ?= 4
faults: need-test
	cargo build -p lockstep -p lockstep-telisca
	LOCKSTEP_FAULTS_SCHEDULES=$(SCHEDULES) LOCKSTEP_FAULTS_SEED=$(SEED) LOCKSTEP_FAULTS_AT_ONCE=$(AT_ONCE) \
	  cargo test -p lockstep-tests --test faults -- schedules --exact --nocapture

# Each target reads other bytes with another SEED. What makes one panic is printed, with the command that plays it again.
fuzz: need
	FUZZ_SECONDS=$(SECONDS_EACH) FUZZ_SEED=$(SEED) cargo test -p lockstep-wire -p lockstep-policy -p lockstep-edge --lib fuzz -- --nocapture

# Figures of docs/measured.md, on the processes of a quick build; those of `cost` are of what is released.
MINUTES ?= 20
RUNS ?= 200
PROFILE ?= lan
SECONDS_EACH ?= 60
soak: figures
	target/demo/figures soak --minutes $(MINUTES) --seed $(SEED)

unplug: figures
	target/demo/figures unplug --runs $(RUNS) --profile $(PROFILE) --seed $(SEED)

rapid: figures
	target/demo/figures rapid --runs $(RUNS) --minutes $(MINUTES) --seed $(SEED)

cost: need-test
	cargo build --release -p lockstep -p lockstep-node -p lockstep-telisca
	cargo build --release -p lockstep-tests --bin figures
	target/release/figures agent --seconds $(SECONDS_EACH)

figures: need-test
	cargo build --profile demo -p lockstep -p lockstep-telisca
	cargo build --profile demo -p lockstep-tests --bin figures

# Of what is shipped, beside peers on the same machine. Never in CI: its machines are everybody's.
ROUNDS ?= 5
FORCE ?=
bench: SECONDS_EACH = 3
bench: need-bench
	@[ "$${CI:-}" != true ] || { echo "make bench is not for CI: figures of a machine that others use say nothing" >&2; exit 1; }
	cargo build --profile dist -p lockstep -p lockstep-telisca -p lockstep-eservices
	cargo build --profile demo -p lockstep-tests --bin bench
	ln -f target/demo/bench target/dist/bench
	target/dist/bench --rounds $(ROUNDS) --seconds $(SECONDS_EACH) --page docs/benchmarks.md $(if $(FORCE),--force)

lint: need
	@.ci/need cargo-fmt cargo-clippy
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --features lockstep-tests/windows -- -D warnings

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
# XMPP probe against a prosody, those of a foreign balancer behind an HAProxy; curl comes to the nodes directly, and with openssl over TLS;
# a browser, a WebSocket library, wrk, h2load and testssl.sh are clients that nobody here wrote;
# schedules of faults set wall clocks by libfaketime, and have a switch of their own read whole frames, for which ethtool prepares the cables.
need-test: need
	@.ci/need unshare nsenter ip nft dbus-daemon systemctl prosody haproxy curl openssl faketime ethtool slowhttptest \
	  chromium-headless-shell python3-websockets wrk h2load testssl

# Peers and the makers of load of `make bench`.
need-bench: need
	@.ci/need unshare nsenter ip nft taskset haproxy nginx wrk h2load strace
