# The few commands of everyday work; `make help` lists them.

ADDR ?= 127.0.0.1
PORT ?= 20162
DURATION ?= 10m
PREFIX ?= $(or $(CARGO_HOME),$(HOME)/.cargo)
CARGO ?= cargo
# Where it is installed, below DESTDIR.
ROOT = $(DESTDIR)$(PREFIX)
# What a shell and man look for, written by the program itself: $(call describe,PROGRAM,SHARE)
define describe
	mkdir -p "$(2)/man/man1" "$(2)/bash-completion/completions" \
	    "$(2)/zsh/$(ZSH)" "$(2)/fish/vendor_completions.d"
	"$(1)" man "$(2)/man/man1"
	"$(1)" completions bash > "$(2)/bash-completion/completions/echopool"
	"$(1)" completions zsh > "$(2)/zsh/$(ZSH)/_echopool"
	"$(1)" completions fish > "$(2)/fish/vendor_completions.d/echopool.fish"
endef
ZSH = site-functions
# An IPv6 address is put in brackets, to tell it from its port.
HOST = $(if $(findstring :,$(ADDR)),[$(patsubst [%,%,$(patsubst %],%,$(ADDR)))],$(ADDR))

# The system that rustc builds for, so that flags for the program don't reach what
# helps to build it.
SYSTEM = $(shell rustc -vV | sed -n 's/^host: //p')

# What libFuzzer needs to see which way its input takes; cargo-fuzz sets the same.
FUZZ_FLAGS = --cfg fuzzing -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,\
	level=4 inline-8bit-counters pc-table trace-compares)
FUZZ_TARGETS = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 60

# Suites that run the server, in this process.
SERVER_SUITES = --lib --test server --test concurrency --test proto --test bulk --test client

.PHONY: help run-server run-client test test-tools soak models fuzz-build fuzz sanitize lab lab-all lab-udp lab-quick mutants lint doc compare install install-units uninstall deb

help:           ## List these commands
	@awk -F ':|## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, substr($$0, index($$0, "## ") + 3) }' $(MAKEFILE_LIST)

run-server:     ## Serve echo on port 20162 and counted on port 4000, and show clients come and go
	$(CARGO) run --locked --release -- serve --echo --counted -v

run-client:     ## Talk to a server: make run-client ADDR=127.0.0.1 PORT=20162
	$(CARGO) run --locked --release --quiet -- client "$(HOST):$(PORT)"

test:           ## Run every test that needs nothing but cargo
	$(CARGO) test --locked

test-tools:     ## Run the tests that need other programs: .ci/run installs them
	$(CARGO) test --locked --test tools --test client --test bench --test report --test faults_tools \
		--test check_rivals --test check_lookalikes --test balancer --test deploy --test package --test admin --test listening --test leftovers --test udp --test udp_guards --test stamp_ping \
		--test stamp_rivals -- --ignored

soak:           ## Use and stop the server for long, and look what is left of it: make soak DURATION=10m
	DURATION=$(DURATION) $(CARGO) test --locked --test soak --test drain -- --ignored --nocapture --test-threads 1

models:         ## Check how the threads synchronize, in every order of their steps
	$(CARGO) test --locked --package models

fuzz-build:
	RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) build --locked --release --manifest-path fuzz/Cargo.toml \
		--target $(SYSTEM) --target-dir fuzz/target $(addprefix --bin ,$(FUZZ_TARGETS))

fuzz: fuzz-build ## Fuzz what reads foreign bytes: make fuzz FUZZ_SECONDS=600 FUZZ_TARGETS=address
	@mkdir -p $(addprefix fuzz/target/corpus/,$(FUZZ_TARGETS)) fuzz/artifacts
	@for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		fuzz/target/$(SYSTEM)/release/$$target -verbosity=0 -print_final_stats=1 -timeout=10 \
			-max_total_time=$(FUZZ_SECONDS) -artifact_prefix=fuzz/artifacts/$$target- \
			fuzz/target/corpus/$$target fuzz/corpus/$$target || exit; \
	done

sanitize:       ## Run the server's suites under AddressSanitizer, with leaks, and the unit tests under ThreadSanitizer
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address' ASAN_OPTIONS=quarantine_size_mb=8 \
		$(CARGO) test --locked --target $(SYSTEM) --target-dir target/asan $(SERVER_SUITES)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' \
		TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp \
		$(CARGO) test --locked --target $(SYSTEM) --target-dir target/tsan --lib

lab:            ## Show that each path of tests/lab is what it claims, and check names the causes of some: make lab LAB=NAME
	$(if $(filter-out 0,$(shell id -u)),unshare --map-root-user) $(CARGO) test --locked --test lab -- \
		--include-ignored --nocapture --test-threads 1 --skip every_path_is_diagnosed --skip every_path_of_datagrams_is_diagnosed
	$(MAKE) lab-quick

lab-all:        ## Show what check says of every path; LAB_WRITE=1 writes the table of docs/diagnosis.md
	$(if $(filter-out 0,$(shell id -u)),unshare --map-root-user) $(CARGO) test --locked --test lab -- \
		--ignored --nocapture --exact every_path_is_diagnosed

lab-udp:        ## Show what check --udp says of every path of datagrams; LAB_WRITE=1 writes its table
	$(if $(filter-out 0,$(shell id -u)),unshare --map-root-user) $(CARGO) test --locked --test lab -- \
		--ignored --nocapture --exact every_path_of_datagrams_is_diagnosed

lab-quick:      ## Show that check names the cause of the paths in tests/lab/quick.rs, in four minutes
	LAB='$(or $(LAB),quick)' LAB_SLACK=6 \
		$(if $(filter-out 0,$(shell id -u)),unshare --map-root-user) $(CARGO) test --locked --test lab -- \
		--ignored --nocapture --test-threads 1 --exact every_path_is_diagnosed every_path_of_datagrams_is_diagnosed

mutants:        ## Break the server's files in every small way, and see whether a test fails
	$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-mutants
	$(CARGO) mutants $(addprefix --file src/,pool.rs proto.rs 'worker/*.rs') -- \
		--locked --lib --test proto --test server --test concurrency --test limits

lint:           ## Check the format and let clippy deny warnings
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc:            ## Build the documentation, warnings denied
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

compare:        ## Measure echopool beside its rivals: QUICK=1 make compare (two minutes), make compare ARGS=--list
	$(CARGO) build --locked --release
	$(CARGO) build --locked --release --package compare
	$(CARGO) run --locked --release --quiet --package compare -- $(if $(QUICK),--quick) $(ARGS)

install:        ## Install echopool, manual pages and completions below PREFIX (default: ~/.cargo) and DESTDIR
	$(CARGO) install --locked --force --no-track --path . --root "$(ROOT)"
	$(call describe,$(ROOT)/bin/echopool,$(ROOT)/share)

install-units:  ## Install the systemd units for the program in PREFIX/bin
	mkdir -p "$(ROOT)/lib/systemd/system"
	cp deploy/systemd/*.socket "$(ROOT)/lib/systemd/system"
	sed 's|/usr/bin/echopool|$(PREFIX)/bin/echopool|' deploy/systemd/echopool.service \
	    > "$(ROOT)/lib/systemd/system/echopool.service"

uninstall:      ## Remove what install and install-units put below PREFIX and DESTDIR
	rm -f "$(ROOT)/bin/echopool" "$(ROOT)"/share/man/man1/echopool.1 "$(ROOT)"/share/man/man1/echopool-*.1 \
	    "$(ROOT)/share/bash-completion/completions/echopool" \
	    "$(ROOT)/share/zsh/$(ZSH)/_echopool" "$(ROOT)/share/fish/vendor_completions.d/echopool.fish" \
	    "$(ROOT)/lib/systemd/system/echopool.service" "$(ROOT)"/lib/systemd/system/echopool-*.socket

deb: ZSH = vendor-completions
deb: export CARGO_TARGET_DIR = target
deb:            ## Build a Debian package in target/debian (needs cargo-deb)
	$(CARGO) build --locked --release
	rm -rf target/deb
	$(call describe,target/release/echopool,target/deb/share)
	$(CARGO) deb --locked --no-build --no-strip
