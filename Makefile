# The one door for people and for CI. Build output lives outside the clone, so that a fresh clone is not a full build.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/holdfast/target
export CARGO_TERM_COLOR ?= auto
CARGO ?= cargo

.PHONY: help claim deps deps-test build fmt lint test unit it demo clean-demo soak update cloud-up cloud-test cloud-test-all cloud-down

help: ## Shows this text
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Cargo goes by times: where clones share one folder of build output, what another one built later counts as this one's, and its tests
# test the other tree. So the folder knows whose it is.
claim:
	@mkdir -p "$(CARGO_TARGET_DIR)"
	@[ "$$(cat "$(CARGO_TARGET_DIR)/tree" 2>/dev/null)" = "$(CURDIR)" ] || \
		{ find . -path ./.git -prune -o -path ./target -prune -o -type f -exec touch -c {} + && echo "$(CURDIR)" >"$(CARGO_TARGET_DIR)/tree"; }

deps: ## Installs what the demo needs (RabbitMQ, qemu-utils, e2fsprogs), starting no service
	@tools/install-deps demo

deps-test: ## Installs what the tests need (also MariaDB, python3-pika, nodejs, npm, Prometheus and Chromium), starting no service
	@tools/install-deps test

build: claim ## Builds everything, tests included
	$(CARGO) build --locked --workspace --all-targets

fmt: ## Formats the code
	$(CARGO) fmt --all

lint: claim ## Checks format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features openstack-tests/cloud -- -D warnings

# The whole workspace each time: with fewer packages Cargo would choose other features and build the dependencies anew.
unit: build ## Tests of the crates and the services, against real servers of their own
	$(CARGO) test --locked --workspace --exclude integration-tests

it: build ## Tests of the whole: real processes around a real broker, killed on purpose
	$(CARGO) test --locked --workspace --test whole

test: deps-test lint build ## Everything that CI checks
	$(CARGO) test --locked --workspace --no-fail-fast
	@echo "make test: all checks passed"

update: claim ## Rewrites the generated files (broker definitions, AsyncAPI document, descriptor, schema lock, pictures of sagas)
	UPDATE=1 $(CARGO) test --locked -p bus-config -p proto -p tidy
	UPDATE=1 $(CARGO) test --locked -p controller --test it the_pictures_of_all_sagas

demo: deps claim ## Two snapshots and two restores of real disks, on this machine, in a few minutes
	$(CARGO) build --locked --workspace --bins
	@$(CARGO_TARGET_DIR)/debug/demo

soak: deps claim ## Kills services and broker at random for MINUTES=60 while jobs run, then judges; SEED=n repeats a schedule, KEEP=1 keeps all
	$(CARGO) build --locked --workspace --bins
	@$(CARGO_TARGET_DIR)/debug/soak

cloud-up: ## Brings up a real OpenStack on this machine (as root, Debian 12; 5 minutes for packages, 3 for the cloud)
	@integration-tests/openstack/cloud up

cloud-test: claim ## The chief tests on a real OpenStack, which it brings up first (as root, Debian 12)
	@CARGO="$(CARGO)" integration-tests/openstack/cloud test

cloud-test-all: claim ## All tests on a real OpenStack, which it brings up first
	@CARGO="$(CARGO)" integration-tests/openstack/cloud test-all

cloud-down: ## Stops the OpenStack of cloud-up; what it holds stays
	@integration-tests/openstack/cloud down
