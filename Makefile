# What every change passes: make check test. The programs need Go alone; the tests need Go, a C compiler (for -race), git and make.
GO      ?= go
TOOL     = $(GO) tool -modfile=tools/go.mod
SOURCES  = $(shell git ls-files --cached --others --exclude-standard '*.go')
FUZZTIME ?= 60s

.PHONY: build test check fmt lint vuln fuzz bench clean

build: ## the programs, into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/... ./edge-agent

test: ## all tests, with the race detector; without it all seeds of the simulation, which is one goroutine each
	$(GO) test -race -timeout 20m $(TESTFLAGS) ./...
	$(GO) test -timeout 20m -run TestSeeds $(TESTFLAGS) ./internal/sim

check: ## formatting, vet, linters, import rules
	@unformatted=$$($(TOOL) gofumpt -l $(SOURCES)); \
	if [ -n "$$unformatted" ]; then echo "gofumpt would change (make fmt does it):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) golangci-lint run ./...
	$(GO) test ./internal/archtest
	cd tools && $(GO) vet ./... && $(GO) test ./...

fmt: ## format every file as check wants it
	$(TOOL) golangci-lint fmt ./...

vuln: ## known vulnerabilities; needs to reach vuln.go.dev
	$(TOOL) govulncheck ./...

fuzz: ## every fuzz target for FUZZTIME, one after the other; by itself go would spend all of it making one long input shorter
	@set -e; for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "$$target in ./$$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$(dirname $$file); \
		done; \
	done

bench: ## every benchmark once, for a first look
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...

clean:
	rm -rf bin dist
