# Everything a person or CI does with this tree. `make help` lists it; CONTRIBUTING.md says more.

# scripts/install-tools may just have put cargo there; the tests start servers from sbin.
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Tests share one Docker Engine and start real servers: more at once are not faster, and their deadlines suffer.
export RUST_TEST_THREADS ?= $(shell n=$$(nproc); if [ "$$n" -gt 4 ]; then echo 4; else echo "$$n"; fi)

# The tests' kubectl is of one version, whatever the machine has (Debian 12 has 1.20, which they try too).

.DEFAULT_GOAL := help
.PHONY: help tools build install uninstall demo test test-peers lint fmt crds packaging bench bench-peers

help: ## List these targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-20s %s\n", $$1, $$2 }'

tools: ## Install what building and running needs (Debian); starts a Docker Engine if none answers.
	scripts/install-tools

build: ## Build target/*/release/davit.
	cargo build --release --locked

# What `make install` puts where; a package sets PREFIX=/usr and DESTDIR.
PREFIX ?= /usr/local
DESTDIR ?=
BINARY ?= $(firstword $(wildcard target/*/release/davit))
into := $(DESTDIR)$(PREFIX)

install: ## Install davit, its link as a plugin of kubectl, its systemd unit, man pages and completions below PREFIX (after `make build`, as root).
	@[ -n "$(BINARY)" ] || { echo "there is no target/*/release/davit: run make build first"; exit 1; }
	install -D -m 755 $(BINARY) $(into)/bin/davit
	ln -sf davit $(into)/bin/kubectl-davit
	install -m 755 packaging/completions/kubectl_complete-davit $(into)/bin/kubectl_complete-davit
	install -d $(into)/lib/systemd/system $(into)/share/man/man1
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' packaging/davit.service >$(into)/lib/systemd/system/davit.service
	chmod 644 $(into)/lib/systemd/system/davit.service
	install -D -m 644 packaging/davit.sysusers $(into)/lib/sysusers.d/davit.conf
	install -m 644 packaging/man/*.1 $(into)/share/man/man1
	install -D -m 644 packaging/completions/bash/davit $(into)/share/bash-completion/completions/davit
	install -D -m 644 packaging/completions/zsh/_davit $(into)/share/zsh/site-functions/_davit
	install -D -m 644 packaging/completions/fish/davit.fish $(into)/share/fish/vendor_completions.d/davit.fish
	@[ -n "$(DESTDIR)" ] || echo "start it with: systemd-sysusers && systemctl daemon-reload && systemctl enable --now davit"

uninstall: ## Remove what `make install` installed; the data directory stays.
	rm -f $(into)/bin/davit $(into)/bin/kubectl-davit $(into)/bin/kubectl_complete-davit $(into)/lib/systemd/system/davit.service $(into)/lib/sysusers.d/davit.conf
	rm -f $(addprefix $(into)/share/man/man1/,$(notdir $(wildcard packaging/man/*.1)))
	rm -f $(into)/share/bash-completion/completions/davit $(into)/share/zsh/site-functions/_davit
	rm -f $(into)/share/fish/vendor_completions.d/davit.fish

demo: tools ## From nothing to a running application: build, `davit up`, apply examples/, change one.
	scripts/demo

test: ## Everything but the real Kubernetes: lints, pure tests, and the whole loop on real servers (20 to 30 minutes at first).
	scripts/install-tools --test
	$(MAKE) --no-print-directory lint
	scripts/build-peer gitea kubectl kubectl-debian clientgo webhooks-examples recorded-deliveries lifecycle
	PATH="$$(scripts/build-peer --path kubectl):$$PATH" cargo test --locked --workspace --no-fail-fast

test-peers: ## Build the real Kubernetes, etcd, buildkitd and Traefik (about 25 minutes, once), then run the loop and kubectl against them, and forges against mocks.
	scripts/install-tools --test
	scripts/build-peer kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubernetes-e2e etcd coredns kubectl kubectl-debian clientgo flux buildkit rootlesskit kwok railpack nixpacks forge-mocks traefik gateway-api cert-manager pebble
	PATH="$$(scripts/build-peer --path kubectl):$$PATH" cargo test --locked --features peers --test conformance
	cargo test --locked --test git -- --ignored forges::mocks
	PATH="$$(scripts/build-peer --path kubectl):$$PATH" cargo test --locked -p davit-apiserver --features peers --test conformance

lint: ## What must hold before a commit: formatting and every lint.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features davit/peers,davit-apiserver/peers -- -D warnings

fmt: ## Format all.
	cargo fmt --all

crds: ## Write crds/ anew from the types in src/api.
	UPDATE=1 cargo test --locked --test checks crds

packaging: ## Write the man pages in packaging/ anew from src/cli.
	UPDATE=1 cargo test --locked --test checks packaging

bench: tools ## Measure what README's figures say, against git, docker and nothing.
	cargo bench --locked -p davit

bench-peers: ## Measure the API server against the real kube-apiserver with etcd, in the same run, and 1,000 Applications on Kubernetes (builds them once).
	scripts/install-tools --test
	scripts/build-peer kube-apiserver etcd kube-controller-manager kube-scheduler kwok kubectl
	cargo bench --locked -p davit-apiserver --features peers --bench apiserver
	PATH="$$(scripts/build-peer --path kubectl):$$PATH" cargo bench --locked -p davit --bench figures -- kubernetes
