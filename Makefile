SHELL := /bin/bash
.DEFAULT_GOAL := help

SQLC     := go tool -modfile=tools/go.mod sqlc
TESTSUM  := go tool -modfile=tools/test/go.mod gotestsum
GOLANGCI := go tool -modfile=tools/lint/go.mod golangci-lint

# The packages that `make test` tests.
PKG ?= ./...

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Builds troyd and executes it, instead of `go run`, so that a signal to make's
# child reaches Troy, which then stops the servers that it started.
.PHONY: run
run: ## Start Troy on this machine, with a sample site live
	@tools/deps go
	@tools/deps postgres & tools/build && wait $$!
	@exec bin/troyd dev --sample examples/site

.PHONY: build
build: ## Build static binaries into bin/
	CGO_ENABLED=0 go build -tags nomsgpack -trimpath -ldflags='-s -w' -o bin/ ./cmd/...

.PHONY: man
man: ## Write the manual pages of troy into bin/man/
	go run ./cmd/troy man bin/man

# One run with the tag `faults` compiles and tests everything. `make lint` checks
# the code without the tag.
GOTEST = mkdir -p bin && GOTESTSUM_JSONFILE=bin/test.json GOTESTSUM_FORMAT=$${GOTESTSUM_FORMAT:-pkgname} \
	$(TESTSUM) --post-run-command tools/count -- -tags faults -parallel 4 -timeout 20m

.PHONY: test
test: deps ## Run all tests
	@$(GOTEST) $(PKG)

# The packages whose goroutines share most memory. The detector makes tests up to
# twenty times slower: those of web and workers take over ten minutes with it.
RACE ?= ./bell/ ./certificates/ ./dnscheck/ ./edge/ ./forge/ ./health/ ./intake/ ./internal/lru/ ./internal/password/ ./traffic/

.PHONY: test-race
test-race: deps ## Run the tests of the packages in RACE with the race detector
	@$(GOTEST) -race $(RACE)

# TROY_TEST_AWS_LACKS lists the features that the endpoints lack, separated by commas.
.PHONY: test-aws
test-aws: ## Run the tests of cloud and builder on other endpoints (CONTRIBUTING.md)
	@test -n "$$TROY_TEST_AWS_ENDPOINT$$TROY_TEST_S3_ENDPOINT" || { echo "Set TROY_TEST_AWS_ENDPOINT or TROY_TEST_S3_ENDPOINT."; exit 2; }
	go test -count=1 -timeout 60m -v -run '^TestEndpoint$$' ./cloud/awscloud/ ./builder/codebuild/

.PHONY: lint
lint: deps-run ## Check format, vet, lint, import rules and generated code
	@unformatted=$$(gofmt -s -l .); if [ -n "$$unformatted" ]; then \
		echo "Not formatted (fix with gofmt -s -w):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags 'faults chaos' ./e2e/
	go build -tags noaws,nomsgpack -o /dev/null ./cmd/troyd
	$(GOLANGCI) run
	$(SQLC) diff
	tools/sqlc-vet

.PHONY: generate
generate: ## Regenerate the generated code
	$(SQLC) generate
	go run ./web/typescript web/openapi.yaml web/troy.d.ts
	go generate ./...

.PHONY: migration
migration: deps-run ## Write the migration NAME that leads to sql/schema.sql
	@test -n "$(NAME)" || { echo "Set NAME to what the migration does: make migration NAME=add_domains"; exit 2; }
	@go run ./sql/migration $(FLAGS) $(NAME)

# BENCH is a pattern of benchmarks, SITE a folder to release in place of the
# generated trees, ROUNDS how often releases are measured, and IDLE for how long
# BenchmarkIdle measures.
BENCH ?= .

.PHONY: bench
bench: deps-bench ## Run the benchmarks, and write their table (BENCH, SITE, ROUNDS, IDLE)
	go test -run '^$$' -bench '$(BENCH)' -benchtime 1s ./edge/
	TROY_BENCH_TABLE=$(CURDIR)/docs/benchmarks.md TROY_BENCH_SITE='$(abspath $(SITE))' TROY_BENCH_ROUNDS='$(ROUNDS)' TROY_BENCH_IDLE='$(IDLE)' \
		go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 120m -v ./bench/

.PHONY: bench-pages
bench-pages: deps ## Measure the pages of the Troy at TROY_PAGES_URL, with TROY_PAGES_TOKEN
	go test -count=1 -run '^$$' -bench '^BenchmarkPages$$' -benchtime 1x -timeout 30m -v ./bench/

.PHONY: chaos
chaos: deps ## Test the promises under faults, with PIPELINES and SEED
	@set -o pipefail; go test -count=1 -tags 'faults chaos' -run '^TestChaos$$' -timeout 120m -v ./e2e/ | { grep -v '^=== ' || true; }

.PHONY: kills
kills: deps ## Kill the store, the command and the server KILLS times (200), and check the store
	TROY_TEST_KILLS=$${KILLS:-200} go test -count=1 -tags faults -run '^(TestKilledStore|TestReleasesSurviveKills)$$' -timeout 120m -v ./cloud/localcloud/ ./e2e/

.PHONY: chaos-mutants
chaos-mutants: deps ## Check that the chaos run notices nine mistakes
	@tools/chaos-mutants

.PHONY: test-frameworks
test-frameworks: ## Build new projects of FRAMEWORKS from the npm registry, and check their links
	go test -count=1 -tags frameworks -run '^TestScaffolds$$' -timeout 120m -v ./builder/

.PHONY: fuzz
fuzz: ## Run every fuzz test for twenty seconds
	@tools/fuzz 20s

.PHONY: deps
deps: ## Install missing programs that the tests need
	@tools/deps go postgres redis chromium cc git node bwrap slirp4netns nft
	@tools/axe

.PHONY: deps-bench
deps-bench: deps ## Install missing programs that the benchmarks need
	@tools/deps rclone

.PHONY: deps-run
deps-run: ## Check Go's version, and install Postgres if missing
	@tools/deps go postgres
