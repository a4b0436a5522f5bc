GO       ?= go
VERSION  ?= dev
COMMIT   ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# As the Dockerfile builds it, to the byte.
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags grpcnotrace \
            -gcflags=cel.dev/...=-l -gcflags=github.com/antlr4-go/...=-l -gcflags=github.com/pelletier/...=-l -gcflags=go.yaml.in/...=-l -gcflags=github.com/spf13/...=-l -gcflags=github.com/prometheus/...=-l -gcflags=github.com/envoyproxy/...=-l -gcflags=net/http/...=-l
FUZZTIME ?= 5000x

.PHONY: demo test test-kubernetes test-docker build fuzz chaos bench
demo: build ## run Bearergate behind a real Envoy and print requests to try
	@ENVOY=$$(test/tools/envoy.sh) && export ENVOY && exec bin/bearergate demo $(DEMO)

test: tools ## pass the tests: units, some fuzzing, a real Envoy and a real authorization server
	$(GO) vet ./...
	$(GO) test -race ./...
	test/tools/fuzz.sh $(FUZZTIME)
	cd test && $(GO) vet ./... && $(GO) test -race ./...

test-kubernetes: ## render and check the chart, and run what Envoy Gateway makes of its chain
	cd test/kubernetes && $(GO) vet ./... && $(GO) test ./...

test-docker: ## build the image and run the compose stack in a real Docker engine, or say that it is skipped
	test/tools/docker.sh || [ $$? -eq 77 ]

.PHONY: tools
tools: # what the tests need, each fetched once into .cache
	@test/tools/envoy.sh >/dev/null
	@test/tools/oidc-provider.sh >/dev/null

build: ## build bin/bearergate
	$(BUILD) -ldflags '$(LDFLAGS)' -o bin/bearergate .

fuzz: ## fuzz each parser of foreign bytes, a million inputs each
	test/tools/fuzz.sh 1000000x

chaos: ## the long form of the chaos tests, with a table of faults
	cd test && CHAOS=long $(GO) test -race -timeout 30m -v ./chaos

bench: ## time and allocations of a Check
	$(GO) test -run '^$$' -bench . -benchmem ./internal/service ./validation ./authz
