# Oakestra. `make help` lists the targets.

# sudo drops the caller's PATH: look for Go where its installers put it.
GO ?= $(shell PATH="$$PATH:/usr/local/go/bin:/usr/lib/go/bin:/snap/bin:$(HOME)/go/bin:$(HOME)/sdk/go/bin$(if $(SUDO_USER),:/home/$(SUDO_USER)/go/bin:/home/$(SUDO_USER)/sdk/go/bin)" command -v go 2>/dev/null)
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
BINARIES := system-manager cluster-manager NodeEngine NetManager oak
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATE ?= /var/lib/oakestra
export STATE GO
# Static binaries: one file runs on every distribution.
export CGO_ENABLED ?= 0
LDFLAGS := -s -w -X oakestra/pkg/version.Version=$(VERSION)
# A file-wide default; the repository need not be a git checkout.
# nomsgpack leaves out a codec of gin that nothing here speaks (9 MB).
export GOFLAGS += -buildvcs=false -tags=nomsgpack
# The caller's module cache serves root too.
ifneq ($(SUDO_USER),)
export GOMODCACHE ?= $(shell sudo -u $(SUDO_USER) $(GO) env GOMODCACHE 2>/dev/null)
endif

# Whether a site is on this machine. Its directory is root's alone: one that
# cannot be looked into holds one.
HAS_SITE = { [ -e "$(STATE)/site.json" ] || { [ -d "$(STATE)" ] && [ ! -x "$(STATE)" ]; }; }

.DEFAULT_GOAL := help
.PHONY: help setup build up down demo test unit mongotest hosttest e2e crash faults harness check fuzz-smoke bench sim generate browser test-long clean need-go images

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

need-go:
	@[ -n "$(GO)" ] || { echo "Go is not installed (or not where make looks). Get it from https://go.dev/dl or your package manager, then run this again; GO=/path/to/go also works." >&2; exit 1; }

setup: ## install the packages a worker needs (apt, idempotent)
	@$(SUDO) deploy/setup.sh run

build: need-go ## build the five programs into bin/
	@mkdir -p bin
	@echo "building $(BINARIES)"
	@$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(BINARIES))

up: setup build ## start root, cluster and worker on this machine
	@$(SUDO) bin/oak up --state $(STATE)

down: ## stop them and remove everything they made
	@if $(HAS_SITE) && ! { [ -x bin/oak ] && [ -x bin/NodeEngine ] && [ -x bin/NetManager ]; }; then $(MAKE) --no-print-directory build; fi
	@if $(HAS_SITE); then $(SUDO) bin/oak down --state "$(STATE)"; else echo "nothing to remove: $(STATE) holds no site"; fi
	@$(SUDO) deploy/demo/run.sh stop-registry

demo: need-go ## run the quick start end to end (DEMO_OFFLINE=1: without an image registry)
	@$(SUDO) deploy/setup.sh run
	@$(MAKE) --no-print-directory build
	@$(SUDO) env STATE=$(STATE) GO=$(GO) DEMO_OFFLINE=$(DEMO_OFFLINE) GOFLAGS="$(GOFLAGS)" $(if $(GOMODCACHE),GOMODCACHE=$(GOMODCACHE)) deploy/demo/run.sh

test: need-go ## everything that must pass: unit tests with -race, then kernel and end-to-end tests as root
	@GO=$(GO) test/run.sh

unit: need-go ## unit, property, golden and architecture tests with -race
	@GO=$(GO) test/run.sh unit

mongotest: need-go ## the MongoDB store against FerretDB, and against OAK_TEST_MONGO_URI when that is set
	@GO=$(GO) test/run.sh mongo

hosttest: need-go ## the data plane in network namespaces (root)
	@GO=$(GO) test/run.sh host

e2e: need-go ## root, cluster and two workers as processes in network namespaces (root)
	@GO=$(GO) test/run.sh e2e

crash: need-go ## kill a system manager 200 times while clients write (OAK_TEST_KILLS=..)
	@OAK_TEST_KILLS=$${OAK_TEST_KILLS:-200} GO=$(GO) test/run.sh crash

faults: need-go ## half an hour of cut links, killed daemons and lost stores (root)
	@GO=$(GO) test/run.sh faults

harness: need-go ## the whole system in virtual time: 1,000 seeds of faults (SEEDS=.. SEED=..), models, pools
	@GO=$(GO) test/run.sh harness

browser: build ## the page /api/docs in a real browser; screenshots in build/browser
	@test/browser/run.sh

test-long: browser crash faults harness ## what takes long or needs much, besides make test

check: need-go ## format, vet, lint, architecture and generated code
	@GO=$(GO) test/check.sh

fuzz-smoke: need-go ## every fuzz target for 10 s
	@GO=$(GO) test/fuzz.sh 10s

bench: need-go build ## measure: deploy latency, idle memory, overlay throughput, placements (root)
	@GO=$(GO) test/bench/run.sh

sim: build ## measure a site of 1 000 simulated workers (SIM="--workers 5000 --agent original", see bin/oak sim -h)
	@bin/oak sim $(SIM)

generate: need-go ## rebuild protobuf code and the OpenAPI documents
	@GO=$(GO) deploy/generate.sh

images: need-go ## build the quick start's images into build/images and serve them on 127.0.0.1:5555
	@$(GO) run ./test/images/demo-registry

clean: ## remove what builds leave (not while a site is on this machine)
	@! $(HAS_SITE) || { echo "a site is in $(STATE), and its daemons start from bin/: run \"make down\" first, which removes the site, too" >&2; exit 1; }
	@rm -rf bin build test/browser/node_modules
