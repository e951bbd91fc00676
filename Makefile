VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X github.com/edgerelay/edgerelay/shared/service.version=$(VERSION)

.PHONY: run build test long race simulation e2e e2e-process e2e-container images sdk ledger fuzz bench bench-commit profile docs screenshot lint ci nightly

run: ; go run .
build: ; CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./edge/cmd/edge ./relay/cmd/relay
test: ; go test ./...
long: ; EDGERELAY_TESTS=long go test -timeout 30m ./...
race: ; go test -race ./...
simulation: ; go test -race -v ./test/simulation
e2e: ; go test -race -v ./test/e2e
e2e-process: ; E2E_KIND=process go test -race ./test/e2e
images: ; test/e2e/images/build
e2e-container: export EDGERELAY_TESTS = long
e2e-container: images ; E2E_KIND=container go test -race ./test/e2e && go test ./test/e2e/stack
sdk: ; cd test/sdk && EDGERELAY_TESTS=long E2E_KIND=process go test -race -count=1 ./...
ledger: images ; EDGERELAY_TESTS=long go test -count=1 -timeout 45m -run TestLedger ./test/e2e/stack -long -write
fuzz: ; .ci/fuzz 10s
bench: ; .ci/bench
bench-commit: ; .ci/bench commit
profile: ; .ci/profile $(WHAT)
docs: ; go test -count=1 -run Docs . -update
screenshot: ; EDGERELAY_TESTS=long EDGERELAY_SCREENSHOT=docs/img/chat.png go test -count=1 -run TwoTabs .
lint: ; .ci/lint
ci: ; .ci/run

# The target nightly runs tests that take too long for every change. It takes about an hour and a
# half.
nightly: export EDGERELAY_TESTS = long
nightly: images
	.ci/fuzz 2m
	go test -race -timeout 30m ./relay/router -seeds 10000
	go test -race -timeout 60m ./test/simulation -seeds 10000
	E2E_KIND=inprocess go test -race -count=3 -timeout 30m ./test/e2e
	E2E_KIND=process go test -race -count=3 -timeout 40m ./test/e2e
	E2E_KIND=container go test -race -count=3 -timeout 60m ./test/e2e
	go test -count=3 -timeout 60m ./test/e2e/stack
	cd test/sdk && E2E_KIND=process go test -race -count=3 -timeout 30m ./...
	cd test/sdk && E2E_KIND=process go test -race -count=1 -timeout 30m -run ShortTokens . -ten-minutes
	go test -count=1 -timeout 45m -run TestLedger ./test/e2e/stack -long
