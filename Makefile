# Daymark: the commands of the README. `make help` lists them.
GO      ?= go
# The race detector needs cgo and a C compiler; without one the tests run without it.
RACE    := $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" >/dev/null && echo -race)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
UNIT    := $$($(GO) list ./... | grep -v '^daymark/test/')
PACKAGES := nftables iproute2 conntrack frr bird2 tcpdump tshark arping ndisc6 procps util-linux

.PHONY: help build demo demo-metal test unit integration lint bench faults soak test-deps tools clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build vip and ccm into bin/
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/ ./cmd/vip ./cmd/ccm

demo: tools ## play the main job on a real cluster in network namespaces; HOLD=1 keeps it up until Ctrl-C
	$(GO) run ./test/demo $(if $(HOLD),-hold)

demo-metal: tools ## play Equinix Metal: elastic addresses, two FRR routers, a control plane that moves
	@[ -x /usr/lib/frr/bgpd ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; } || { echo "FRR is missing: install the package frr (as root: make test-deps)"; exit 1; }
	@[ -x /usr/lib/frr/bgpd ] || { echo "installing frr (the demo's routers)"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends frr >/dev/null; }
	$(GO) run ./test/demometal

test: tools unit integration ## all tests: units with the race detector, then real API servers, routers and kernels

unit: ## tests that need no privileges and no other programs
	$(GO) test $(RACE) $(UNIT)

# Never from the cache: these tests build and run the programs, which go test does not know. Beds don't see each other, so two at a time.
integration: tools ## tests on real parts in network namespaces
	$(GO) test -count 1 -p 2 -timeout 20m ./test/...

lint: ## formatting, vet, staticcheck, tidy module files
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	cd test/cluster && $(GO) mod tidy -diff

bench: tools ## benchmarks, and one run against a real API server; figures go to docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem $(UNIT)
	DAYMARK_BENCH=1 $(GO) test -p 1 -count 1 -timeout 30m -v -run 'Bench' ./test/...

faults: tools ## every fault on the bed; prints the table of docs/reliability.md
	DAYMARK_FAULTS=1 $(GO) test -p 1 -count 1 -timeout 30m -v -run 'Fault' ./test/...

soak: tools ## the long tests of the pools, at most 10 minutes
	DAYMARK_SOAK=1 $(GO) test -p 1 -count 1 -timeout 15m -v -run 'Soak' ./test/...

test-deps: ## install the real peers that the tests use (Debian, Ubuntu; needs root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES)

# kube-proxy runs nft; without it nothing works, so root gets it here and others are told. Then the control plane is built, once.
tools:
	@command -v nft >/dev/null || PATH=$$PATH:/usr/sbin:/sbin command -v nft >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "installing nftables (kube-proxy needs nft)"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nftables >/dev/null; \
	else echo "nft is missing: install the package nftables (as root: make test-deps)"; exit 1; fi
	@$(GO) run ./test/programs/build >/dev/null

clean: ## remove what was built here (the cache of the control plane stays: see CONTRIBUTING.md)
	rm -rf bin
