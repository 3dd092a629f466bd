# Two commands: `make run` shows Signet at work, `make test` proves it.

GO ?= go

.PHONY: build run clean-run test cross bench bench-scale soak fuzz deps

# The commit is stamped whatever GOFLAGS says of it, and where git can tell it:
# else go build would fail.
VCS = $(if $(shell git rev-parse HEAD 2>/dev/null),auto,false)

build:
	$(GO) build -trimpath -buildvcs=$(VCS) -o bin/ ./cmd/signet ./cmd/signet-server

# Works in .run/ inside this folder. DIR=PATH, said to make and not found in
# the environment, shows a folder of your own; ONCE=1 ends by itself.
run: build
	@$(if $(filter command,$(firstword $(origin DIR))),,unset DIR;) GO=$(GO) ./test/firstrun/run

clean-run: build
	@GO=$(GO) ./test/firstrun/run clean

# Installs what the tests need, runs every stage and counts.
test: deps
	$(GO) run ./test/report

cross:
	$(GO) run ./test/report -only cross

deps:
	@./scripts/deps

bench: build
	$(GO) run ./test/bench
	$(GO) run ./test/bench -only W9

bench-scale: build
	$(GO) run ./test/bench -only W9 -scale

# Hours: seeds of the simulation that nobody ran before, for SECONDS, then the
# tests behind the build tag soak.
soak: build
	$(GO) test -count=1 -timeout 0 -run TestSeeds -v ./test/sim -args -workers 2 -seconds $(or $(SECONDS),3600) -first $$(date +%s)000
	$(GO) test -tags soak -count=1 -timeout 6h -run Soak -v ./...

# Each fuzz target for SECONDS.
fuzz:
	@./scripts/fuzz $(or $(SECONDS),10)
