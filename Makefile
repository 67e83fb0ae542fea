# make           builds the programs into ./bin
# make demo      runs a pod through the whole chain on this machine: no root, no cluster, no Slurm
# make test      installs what is missing, then lint, unit and end-to-end tests
# make bench     compares with what a user would pick instead (ONLY=tunnel: by prefix)
# make soak      the long rounds
# make book      the book, in target/book      make reference   its lists of flags, after a change of them
# make release   everything that is delivered, in ./dist (then scripts/release --again: the same bytes; --roots: fresh systems)
# make lint      formatting, clippy, licences    make audit   known vulnerabilities

CARGO ?= cargo
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
PROGRAMS := virtual-kubelet interlink ssh-tunnel interlink-plugin interlinkctl
SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.PHONY: all $(PROGRAMS) demo test unit e2e bench soak lint audit setup clean book reference release
all: $(PROGRAMS)

# The plugin also runs on compute nodes, whatever their C library: static.
bin/interlink-plugin: $(SOURCES)
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked --release --target $(HOST) -p interlink-plugin
	@mkdir -p bin && install -m 755 target/$(HOST)/release/interlink-plugin $@

bin/.dynamic: $(SOURCES)
	$(CARGO) build --locked --release -p interlink-kubelet -p interlink-api -p interlink-tunnel -p interlink-ctl
	@mkdir -p bin && cd target/release && install -m 755 virtual-kubelet interlink ssh-tunnel interlinkctl ../../bin/
	@touch $@

interlink-plugin: bin/interlink-plugin
virtual-kubelet interlink ssh-tunnel interlinkctl: bin/.dynamic

demo: all
	./bin/interlinkctl demo $(if $(KEEP),--keep)

setup:
	scripts/setup
	scripts/kubernetes
	scripts/firewalls > /dev/null

test: setup lint all unit e2e

unit: all
	$(CARGO) test --locked --workspace --exclude interlink-e2e

e2e: all
	scripts/previous > /dev/null
	$(CARGO) test --locked -p interlink-e2e -- --test-threads=1

soak: setup all
	INTERLINK_SOAK=1 $(CARGO) test --locked -p interlink-tunnel --test real_sshd -- networks:: bulk:: crowds::
	INTERLINK_SOAK=1 $(CARGO) test --locked -p interlink-e2e -- --test-threads=1

bench: setup all
	$(CARGO) run --locked --release -p interlink-bench -- $(if $(ONLY),--only $(ONLY))

book:
	$$(scripts/tool mdbook) build docs
	@echo "the book is in target/book/index.html"

# from the programs' --help
reference: all
	BOOK_WRITE=1 $(CARGO) test --locked --quiet -p interlink-e2e --test book flags_as_help_prints_them

release:
	scripts/release
	scripts/release --check

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$$(scripts/cargo-deny) --all-features check licenses bans sources

audit:
	$$(scripts/cargo-deny) check advisories

clean:
	rm -rf bin target
