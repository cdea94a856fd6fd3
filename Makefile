# Everything that is done to this repository more than once. `make` alone lists it.
# Nothing here needs root, Docker, or more than Go and make; GNU make 3.81 will do.

SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help

# What `manager --version` says.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS = -s -w -X github.com/images-io/tagger/internal/app.version=$(VERSION)

# More flags for go test, such as: make test TESTFLAGS='-run TestPin ./internal/pin'
TESTFLAGS ?= ./...

# Go would ask git for a version too, and fail where git does not trust the owner of the folder. With -trimpath, and without
# cgo where only the race detector needs it, what the control plane's programs were built from need not be compiled again. Without
# debugging information the compiler takes a sixth less time; stack traces and profiles do not need it.
export GOFLAGS := $(strip $(shell go env GOFLAGS 2>/dev/null) -buildvcs=false -trimpath -gcflags=all=-dwarf=false)
PURE := CGO_ENABLED=0

# The programs of hack/build-tools.sh, built once, kept in bin/: those of the demo, and those of the tests.
DEMO_TOOLS := etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok registry crane
TOOLS := $(DEMO_TOOLS) helm3 helm4 flux-apply

# Writes what is generated from api/v1 into the folder $out, for generate to take and verify to compare.
CONTROLLER_GEN = bin/controller-gen crd object paths=./api/... output:crd:dir=$$out/crd output:object:dir=$$out/object

# What kubectl can apply as it is.
KUSTOMIZATIONS := config/default config/prometheus config/samples config/samples/push

##@ General

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "; print "Usage: make TARGET"} \
		/^##@/ {print "\n" substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/manager and the kubectl plugin bin/kubectl-tag
	$(PURE) go build -ldflags '$(LDFLAGS)' -o bin/manager ./cmd/manager
	$(PURE) go build -ldflags '$(LDFLAGS)' -o bin/kubectl-tag ./cmd/kubectl-tag

.PHONY: clean
clean: ## Remove what was built, the control plane's programs too
	@if [ -e .dev ]; then echo 'The control plane of make dev-up may be running: make dev-down first.' >&2; exit 1; fi
	rm -rf bin .demo

##@ See it work

.PHONY: demo
demo: demo-tools build bin/dev ## Tell Tagger's story on a real control plane and a real registry, and clean up
	bin/dev demo

.PHONY: dev-up
dev-up: demo-tools build bin/dev ## Leave the same running; .dev/env and .dev/kubeconfig say where
	bin/dev up

.PHONY: dev-down
dev-down: bin/dev ## End what dev-up started
	bin/dev down

##@ Test

.PHONY: test
test: tools build bin/gateway-api.yaml ## Run all tests, with the race detector where there is a C compiler
	@if [ "$$(go env CGO_ENABLED)" = 1 ]; then race=-race; else race=; \
		echo 'test: there is no C compiler, so the race detector is off'; fi; \
	set -x; go test $$race -timeout 20m $(TESTFLAGS)

.PHONY: test-faults
test-faults: tools build ## Kill, freeze and cut off the manager and the API server while Tags move (minutes)
	go test -tags faults -count 1 -p 1 -parallel 4 -timeout 20m $(or $(FAULTFLAGS),./test/faults/...)
	go test -count 1 -run CostsLittleMemory ./internal/registry

.PHONY: bench
bench: tools build ## Measure what docs/benchmarks.md promises; BENCH=name runs one (minutes)
	$(PURE) go build -o bin/bench ./test/bench
	bin/bench $(BENCH)

.PHONY: bench-copy
bench-copy: tools build ## Measure copies of images beside crane, regctl and oras; BENCH=name runs one (minutes)
	@hack/build-tools.sh regctl oras
	$(PURE) go build -o bin/copier ./test/bench/copy/copier
	$(PURE) go build -o bin/bench-copy ./test/bench/copy
	bin/bench-copy $(BENCH)

.PHONY: bench-push
bench-push: BENCH = push
bench-push: bench ## Measure push notifications: many at once, rollouts, an attack (minutes)

.PHONY: fuzz
fuzz: ## Fuzz the parsers of push notifications and their authentication, each for FUZZTIME (60s)
	@set -e; for test in $$(grep -rhoE '^func Fuzz[A-Za-z]+' webhooks/push | cut -d' ' -f2); do \
		echo "fuzz: $$test"; go test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(or $(FUZZTIME),60s) ./webhooks/push; done

.PHONY: bench-short
bench-short: BENCH = -short
bench-short: bench bench-copy ## Run each part of both benchmarks once, small and without bars (a minute or two)

.PHONY: verify
verify: verify-generated verify-format vet lint verify-modules build verify-config verify-scripts verify-docs ## Prove that the tree is sound: generated files, format, lint, modules, build, manifests
	@echo 'verify: all is well'

.PHONY: lint
lint: bin/golangci-lint ## Run the linters, the architecture's rules among them (.golangci.yml)
	$(PURE) bin/golangci-lint run

.PHONY: vet
vet:
	$(PURE) go vet -tags faults ./...

.PHONY: verify-generated
verify-generated: bin/controller-gen
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; $(CONTROLLER_GEN) && \
	{ diff -u config/crd/bases "$$out/crd" && diff -u api/v1/zz_generated.deepcopy.go "$$out/object/zz_generated.deepcopy.go" || \
		{ echo 'verify: generated files are out of date: make generate' >&2; exit 1; }; }

.PHONY: verify-format
verify-format:
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "verify: not formatted (gofmt -w): $$files" >&2; exit 1; }

.PHONY: verify-modules
verify-modules:
	go mod tidy -diff

.PHONY: verify-config
verify-config:
	@hack/build-tools.sh kubectl
	@for folder in $(KUSTOMIZATIONS); do bin/kubectl kustomize $$folder >/dev/null || exit 1; done

.PHONY: verify-scripts
verify-scripts:
	@for script in .ci/run hack/*.sh; do bash -n $$script || exit 1; done

.PHONY: verify-docs
verify-docs:
	@hack/verify-docs.sh

##@ Develop

.PHONY: generate
generate: bin/controller-gen ## Write the CRD and the deepcopy methods from api/v1
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; $(CONTROLLER_GEN) && \
	cp "$$out"/crd/*.yaml config/crd/bases/ && cp "$$out"/object/zz_generated.deepcopy.go api/v1/

.PHONY: tools
tools: ## Provide the control plane, kubectl and the registry in bin/ (minutes, once)
	@hack/build-tools.sh $(TOOLS)

.PHONY: demo-tools
demo-tools:
	@hack/build-tools.sh $(DEMO_TOOLS)

bin/gateway-api.yaml: hack/tools/gatewayapi/go.mod hack/tools/gatewayapi/go.sum
	cd hack/tools/gatewayapi && go mod download sigs.k8s.io/gateway-api
	cat "$$(cd hack/tools/gatewayapi && go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)"/config/crd/standard/*_httproutes.yaml >$@

bin/controller-gen: hack/tools/generate/go.mod hack/tools/generate/go.sum
	cd hack/tools/generate && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/$@ sigs.k8s.io/controller-tools/cmd/controller-gen

bin/golangci-lint: hack/tools/lint/go.mod hack/tools/lint/go.sum hack/tools/lint/main.go
	@echo 'lint: building golangci-lint, a few minutes, once'
	cd hack/tools/lint && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $(CURDIR)/$@ .

.PHONY: bin/dev
bin/dev:
	$(PURE) go build -o $@ ./hack/dev
