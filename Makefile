.PHONY: demo test faults package lint

# One set of features for clippy and the tests, so that nothing is compiled twice.
FEATURES := --features lab

demo: ## the doctor on a private host with three networks and four guests
	tests/lab/packages demo
	cargo build
	target/debug/kvmnet demo

# The lab needs root. Without it its tests say that they were skipped, unless KVMNET_LAB=require is set.
test: ## everything, also against a real libvirt with real guests
	tests/lab/packages test
	$(MAKE) lint
	cargo build $(FEATURES)
	cargo test --no-fail-fast $(FEATURES) --doc
	cargo test --no-fail-fast $(FEATURES) --lib --bins --tests

faults: ## the fault benchmark, each fault with both of libvirt's firewall backends; writes docs/faults.md
	tests/lab/packages test
	cargo build $(FEATURES)
	KVMNET_UPDATE=1 KVMNET_FAULTS=all KVMNET_LAB=require cargo test $(FEATURES) --test faults

package: ## the Debian package, below target/package; packaging/deb/try installs it on a clean Debian
	tests/lab/packages demo
	cargo deb --version >/dev/null 2>&1 || cargo install --locked cargo-deb
	packaging/deb/build

lint:
	cargo fmt --all --check
	cargo clippy --all-targets $(FEATURES) -- -D warnings
