GO      ?= go
VERSION ?= dev
COMMIT  ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: demo test build
demo: build ## run Bearergate behind a real Envoy and print requests to try
	@ENVOY=$$(test/tools/envoy.sh) && ENVOY=$$ENVOY bin/bearergate demo $(DEMO)

build: ## build bin/bearergate
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/bearergate .

test: ## pass the tests
	$(GO) vet ./...
	$(GO) test -race ./...
