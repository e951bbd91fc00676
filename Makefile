VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X github.com/edgerelay/edgerelay/shared/service.version=$(VERSION)

.PHONY: run build test race e2e fuzz lint ci

run: ; go run .
build: ; CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./edge/cmd/edge ./relay/cmd/relay
test: ; go test ./...
race: ; go test -race ./...
e2e: ; go test -race -v ./test/e2e
fuzz: ; .ci/fuzz 10s
lint: ; .ci/lint
ci: ; .ci/run
