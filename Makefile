# Two commands matter to a newcomer: `make run` runs the main job, `make test` passes the tests. Both do their own set-up.
# `verify` never writes to the tree; `fix` does.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: run build test deps embeddings softphones captures verify fix bench sim mutations prove survival takeover chaos doc deny

## run: build, then three real nodes with demo callers and agents on this machine
run:
	$(CARGO) run --release --bin tandem -- dev --demo

build:
	$(CARGO) build --release --workspace

## test: everything that must pass before a change lands (≤ 20 minutes cold on 2 cores)
test: deps
	$(CARGO) check --no-default-features
	$(CARGO) test --workspace --no-fail-fast
	$(CARGO) run --quiet --profile sim -p tandem-sim -- --seed 1 --iterations 200 --threads 2 --quiet

## deps: what the tests need beyond Rust; says in one line what is missing when it cannot install it
deps:
	@command -v sipp >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    apt-get update -qq && apt-get install -y -qq sip-tester >/dev/null; fi; \
	  command -v sipp >/dev/null 2>&1 || echo "missing: sipp (Debian: apt-get install sip-tester); the SIPp scenarios will be skipped"; }

## softphones: the real phones of `survival`; says in one line what is missing when it cannot install it
softphones:
	@command -v baresip >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    apt-get update -qq && apt-get install -y -qq baresip-core >/dev/null; fi; \
	  command -v baresip >/dev/null 2>&1 || echo "missing: baresip (Debian: apt-get install baresip-core); its scenarios will be skipped"; }
	@python3 -c 'import pjsua2' >/dev/null 2>&1 || { \
	  python3 -m pip install --quiet pjsua2-python >/dev/null 2>&1; \
	  python3 -c 'import pjsua2' >/dev/null 2>&1 || echo "missing: PJSIP for Python (pip install pjsua2-python); its scenarios will be skipped"; }

## embeddings: fetches the sentence embedding model of docs/AI.md into ./embeddings/minilm (56 MB; by version and SHA-256)
embeddings:
	python3 models/train/fetch_embedding.py embeddings/minilm

## captures: what `survival zombie` needs; says in one line what is missing when it cannot install it
captures:
	@command -v dumpcap >/dev/null 2>&1 && command -v tshark >/dev/null 2>&1 && command -v iptables >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq tshark iptables iproute2 >/dev/null; fi; \
	  command -v dumpcap >/dev/null 2>&1 || echo "missing: dumpcap (Debian: apt-get install tshark iptables iproute2); \`survival zombie\` will fail"; }

## verify: formatting, lints, the pure core alone, documentation; never writes
verify:
	$(CARGO) fmt --all --check
	$(CARGO) check --no-default-features
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --test it tidy
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty

## deny: licences, bans and sources of every dependency (needs cargo-deny)
deny:
	@command -v cargo-deny >/dev/null 2>&1 || { echo "missing: cargo-deny (cargo install cargo-deny)"; exit 1; }
	$(CARGO) deny check bans licenses sources

## bench: the figures of docs/BENCHMARKS.md on this machine
bench:
	$(CARGO) build --release --workspace
	./target/release/tandem-bench calls

## sim: 200 seeds of a simulated cluster through faults, on two threads; docs/TESTING.md says what is simulated
SEED ?= 1
ITERATIONS ?= 200
sim:
	$(CARGO) run --profile sim -p tandem-sim -- --seed $(SEED) --iterations $(ITERATIONS) --threads 2

## mutations: puts six real bugs back, one at a time, and demands that the simulator finds each from fresh seeds (SEED=… repeats)
mutations:
	chaos/mutations/run.sh $(if $(filter-out 1,$(SEED)),$(SEED))

## prove: every proof under load of docs/TESTING.md, one after the other (about 20 minutes; `disk` needs root)
PROOFS = calls offers failover failover@--no-death-notice outage rolling members witness drill disk overload@--one-cpu@--rate@200@--agents@1000 raft memory core
prove: deps
	$(CARGO) build --release --workspace
	@missed=; for proof in $(PROOFS); do \
	  ./target/release/tandem-bench $$(echo $$proof | tr @ ' ') 2>/dev/null || missed="$$missed $$proof"; \
	done; [ -z "$$missed" ] || { echo "missed:$$missed"; exit 1; }

## survival: calls outlive their node, one proof after the other (about 12 minutes; `zombie` needs root); docs/TESTING.md says what each shows
SURVIVAL = gap gap@--no-death-notice leader drain storm window zombie matrix softphones
survival: softphones captures
	$(CARGO) build --release --workspace
	@missed=; for proof in $(SURVIVAL); do \
	  ./target/release/tandem-bench survival $$(echo $$proof | tr @ ' ') 2>/dev/null || missed="$$missed $$proof"; \
	done; [ -z "$$missed" ] || { echo "missed:$$missed"; exit 1; }

## takeover: people take over from AI agents, one proof after the other (about 9 minutes); docs/TESTING.md says what each shows
TAKEOVER = contacts contacts@--leader-kills@5 switch lost anytime@--calls@500
takeover:
	$(CARGO) build --release --workspace
	@missed=; for proof in $(TAKEOVER); do \
	  ./target/release/tandem-bench takeover $$(echo $$proof | tr @ ' ') 2>/dev/null || missed="$$missed $$proof"; \
	done; [ -z "$$missed" ] || { echo "missed:$$missed"; exit 1; }

## chaos: every experiment that ships, on real nodes (about 25 minutes; `disk-full` needs root); docs/CHAOS.md says what each shows
chaos:
	$(CARGO) build --release --workspace
	@missed=; for file in chaos/experiments/*.toml; do \
	  name=$$(basename $$file .toml); \
	  ./target/release/chaos run $$name 2>/dev/null || missed="$$missed $$name"; \
	done; [ -z "$$missed" ] || { echo "missed:$$missed"; exit 1; }

doc:
	$(CARGO) doc --workspace --no-deps
