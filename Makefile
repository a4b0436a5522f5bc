GO       ?= go
VERSION  ?= dev
COMMIT   ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# As the Dockerfile builds it, to the byte.
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags grpcnotrace
FUZZTIME ?= 5000x

.PHONY: help
help: ## print these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## run Bearergate behind a real Envoy and print requests to try (DEMO=--shared: two replicas and a store)
	@ENVOY=$$(test/tools/envoy.sh) && export ENVOY && \
	case '$(DEMO)' in *--shared*) REDIS=$$(test/tools/redis.sh) && export REDIS;; esac && \
	exec bin/bearergate demo $(DEMO)

.PHONY: build
build: ## build bin/bearergate
	$(BUILD) -ldflags '$(LDFLAGS)' -o bin/bearergate .

# The version goes into the library as into the binary. It needs a C compiler: the Go runtime within is Envoy's guest.
.PHONY: module
module: ## build bin/libbearergate.so, for an Envoy that decides in its own process (experimental: docs/module.md)
	mkdir -p bin
	cd envoy/module && CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -tags grpcnotrace \
	  -buildmode=c-shared -ldflags '$(LDFLAGS)' -o ../../bin/libbearergate.so .

.PHONY: test
test: tools ## pass the tests: units, some fuzzing, a real Envoy and a real authorization server
	$(GO) vet ./...
	$(GO) test -race ./...
	test/tools/fuzz.sh $(FUZZTIME)
	cd envoy/module && $(GO) vet ./... && $(GO) test -race ./filter ./install
	cd test && $(GO) vet ./... && $(GO) test -race -count=1 ./...

.PHONY: test-kubernetes
test-kubernetes: ## render and check the chart, and run what Envoy Gateway makes of its chain
	cd test/kubernetes && $(GO) vet ./... && $(GO) test ./...

.PHONY: test-istio
test-istio: ## ask Istio's own translation about its chains and the chart, and run what it makes in a real Envoy
	test/istio/run.sh

# Which of them: SERVERS=keycloak,mcp
SERVERS ?= all
.PHONY: test-servers
test-servers: tools ## run against real authorization servers and MCP SDKs, each fetched once into .cache, and say which could not be had
	cd test && SERVERS=$(SERVERS) $(GO) test -race -count=1 -timeout 90m -v -run '^(TestServers|TestMCPClientsOfOtherSDKsFindTheirWay)$$' ./servers ./e2e

.PHONY: test-docker
test-docker: ## build the image and run the compose stack in a real Docker engine, or say that it is skipped
	test/tools/docker.sh || [ $$? -eq 77 ]

.PHONY: test-cluster
test-cluster: ## ask a real Kubernetes about the chart; its programs are built once (CLUSTER=cached: a node's are not)
	test/cluster/run.sh

.PHONY: lint
lint: ## ask golangci-lint, shellcheck and govulncheck about every module and script
	test/tools/lint.sh

.PHONY: fuzz
fuzz: ## fuzz each parser of foreign bytes, a million inputs each
	test/tools/fuzz.sh 1000000x

.PHONY: chaos
chaos: ## run the long form of the chaos tests, with a table of faults
	cd test && CHAOS=long $(GO) test -race -timeout 30m -v ./chaos

# Which rows, a regular expression; and other flags: BENCH_FLAGS='-repetitions 3 -seconds 2 -long'
BENCH ?= .
BENCH_FLAGS ?=
.PHONY: bench
bench: build ## measure what a Check costs, beside a server that checks nothing (BENCH=warm-jwt, BENCH_FLAGS=-help)
	cd test && $(GO) run ./bench/run -rows '$(BENCH)' $(BENCH_FLAGS)

.PHONY: bench-envoy
bench-envoy: build module ## measure what the filter costs in a real Envoy, beside none, jwt_authn and a server that checks nothing
	ENVOY=$$(test/tools/envoy.sh) && export ENVOY && cd test && $(GO) run ./bench/gateway -rows '$(BENCH)' $(BENCH_FLAGS)

.PHONY: bench-compare
bench-compare: ## compare time and allocations of each stage with those of another commit: REF=v0.2.0
	test/bench/compare.sh '$(REF)'

.PHONY: tools
tools: # what the tests need, each fetched once into .cache
	@test/tools/envoy.sh >/dev/null
	@test/tools/oidc-provider.sh >/dev/null
	@test/tools/redis.sh >/dev/null || [ $$? -eq 77 ]
