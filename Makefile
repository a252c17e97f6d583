SHELL := /bin/bash
.DEFAULT_GOAL := help

SQLC     := go tool -modfile=tools/go.mod sqlc
TESTSUM  := go tool -modfile=tools/test/go.mod gotestsum
GOLANGCI := go tool -modfile=tools/lint/go.mod golangci-lint

# Which packages `make test` and `make bench` look at.
PKG ?= ./...

.PHONY: help
help: ## Show what make can do here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Built and then started, not `go run`: a signal sent to make's child reaches
# Troy, which stops the servers it started.
.PHONY: run
run: deps-run ## Start Troy on this machine, with a sample site live
	go build -o bin/ ./cmd/troyd ./cmd/troy
	@exec bin/troyd dev --sample examples/site

.PHONY: build
build: ## Build static binaries into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

# One run with the tag `faults` compiles and tests everything; what is compiled
# without it is checked by `make lint`.
.PHONY: test
test: deps ## Run all tests with the race detector, on real Postgres and Redis
	@mkdir -p bin
	@GOTESTSUM_JSONFILE=bin/test.json GOTESTSUM_FORMAT=$${GOTESTSUM_FORMAT:-pkgname} \
		$(TESTSUM) --post-run-command tools/count -- -race -tags faults -timeout 20m $(PKG)

# TROY_TEST_AWS_LACKS names what the endpoints lack, separated by commas.
.PHONY: test-aws
test-aws: ## Run the cloud's suite and a whole life on TROY_TEST_AWS_ENDPOINT and TROY_TEST_S3_ENDPOINT
	@test -n "$$TROY_TEST_AWS_ENDPOINT$$TROY_TEST_S3_ENDPOINT" || { echo "Set TROY_TEST_AWS_ENDPOINT or TROY_TEST_S3_ENDPOINT."; exit 2; }
	go test -count=1 -timeout 60m -v -run '^TestEndpoint$$' ./cloud/awscloud/

.PHONY: lint
lint: deps-run ## Check format, vet, lint, import rules and generated code
	@unformatted=$$(gofmt -s -l .); if [ -n "$$unformatted" ]; then \
		echo "Not formatted (gofmt -s -w mends it):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags 'faults chaos' ./e2e/
	$(GOLANGCI) run
	$(SQLC) diff
	tools/sqlc-vet

.PHONY: generate
generate: ## Write the generated code again
	$(SQLC) generate
	go generate ./...

.PHONY: migration
migration: deps-run ## Write the migration NAME that takes the migrations to sql/schema.sql
	@test -n "$(NAME)" || { echo "Say what it does: make migration NAME=add_domains"; exit 2; }
	@go run ./sql/migration $(FLAGS) $(NAME)

.PHONY: bench
bench: deps-bench ## Run the benchmarks, one after another
	go test -run '^$$' -bench . -benchtime 1s ./edge/
	go test -run '^$$' -bench . -benchtime 1x -timeout 30m -v ./bench/

.PHONY: chaos
chaos: deps ## Drive PIPELINES pipelines (500) and their teams under SEED's faults, and check every promise
	@set -o pipefail; go test -count=1 -tags 'faults chaos' -run '^TestChaos$$' -timeout 120m -v ./e2e/ | { grep -v '^=== ' || true; }

.PHONY: chaos-mutants
chaos-mutants: deps ## Let Troy make eight mistakes, one after another, and see that the chaos run notices each
	@tools/chaos-mutants

.PHONY: fuzz
fuzz: ## Run every fuzz test for twenty seconds
	@tools/fuzz 20s

.PHONY: deps
deps: ## Install what the tests need and this machine lacks
	@tools/deps go postgres redis chromium cc git node bwrap slirp4netns nft

.PHONY: deps-bench
deps-bench: deps ## Install what the benchmarks compare with as well
	@tools/deps rclone

.PHONY: deps-run
deps-run: ## Check Go's version and install what running needs: Postgres
	@tools/deps go postgres
