# The few commands of everyday work; `make help` lists them.

ADDR ?= 127.0.0.1
PORT ?= 20162
DURATION ?= 10m
PREFIX ?= $(or $(CARGO_HOME),$(HOME)/.cargo)
CARGO ?= cargo
# An IPv6 address is put in brackets, to tell it from its port.
HOST = $(if $(findstring :,$(ADDR)),[$(patsubst [%,%,$(patsubst %],%,$(ADDR)))],$(ADDR))

.PHONY: help run-server run-client test test-tools soak lint doc compare install

help:           ## List these commands
	@awk -F ':|## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, substr($$0, index($$0, "## ") + 3) }' $(MAKEFILE_LIST)

run-server:     ## Serve echo on port 20162 and counted on port 4000, and show clients come and go
	$(CARGO) run --locked --release -- serve --echo --counted -v

run-client:     ## Talk to a server: make run-client ADDR=127.0.0.1 PORT=20162
	$(CARGO) run --locked --release --quiet -- client "$(HOST):$(PORT)"

test:           ## Run every test that needs nothing but cargo
	$(CARGO) test --locked

test-tools:     ## Run the tests that need other programs: .ci/run installs them
	$(CARGO) test --locked --test tools --test client --test bench --test report --test faults_tools -- --ignored

soak:           ## Use and stop the server for long, and look what is left of it: make soak DURATION=10m
	DURATION=$(DURATION) $(CARGO) test --locked --test soak --test drain -- --ignored --nocapture --test-threads 1

lint:           ## Check the format and let clippy deny warnings
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc:            ## Build the documentation, warnings denied
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

compare:        ## Measure echopool beside its rivals: QUICK=1 make compare, make compare ARGS=--list
	$(CARGO) build --locked --release
	$(CARGO) build --locked --release --package compare
	$(CARGO) run --locked --release --quiet --package compare -- $(if $(QUICK),--quick) $(ARGS)

install:        ## Install echopool to PREFIX/bin (default: ~/.cargo)
	$(CARGO) install --locked --path . --root "$(PREFIX)"
