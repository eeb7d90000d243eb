# make run: a JavaScript prompt on ./state. make test: everything. Both fetch what they need.

GO ?= go
DIR ?= ./state
GUEST := guest/node_modules/.package-lock.json
CC_FOUND := $(shell command -v $${CC:-cc} 2>/dev/null)
FUZZTIME ?= 10000x
HEAPTESTS := Heap|AsyncFailure|AppRecord|InDoubt|FailedApply|OnMemory
FLIPS ?= 10000
# LMDB is measured where its library is, by cgo.
BENCH_TAGS = $(shell echo '\#include <lmdb.h>' | $${CC:-cc} -E - >/dev/null 2>&1 && echo -tags lmdb)

.PHONY: run test soak guest check unit race cross fuzz crash crash-inject crash-kill crash-fs crash-peers crash-corrupt bench profile bench-check

run: guest
	CGO_ENABLED=0 $(GO) build -o bin/loomctl ./cmd/loomctl
	bin/loomctl run $(DIR)

test: guest check cross unit race fuzz

# The same tests, for hours instead of seconds.
soak: guest
	LOOM_SOAK=1 $(GO) test -timeout 24h ./...

guest: $(GUEST)

$(GUEST): guest/package.json guest/package-lock.json
	npm ci --prefix guest --ignore-scripts --no-audit --no-fund

check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go' -not -path './guest/*')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 $(GO) vet ./...
	CGO_ENABLED=0 $(GO) vet -tags loomheap ./internal/mapping ./fault ./loom

# What is shipped builds without cgo for both machines, and everything
# compiles, tests included, where a store can not be opened.
cross:
	@for target in linux/arm64 darwin/arm64 windows/amd64; do \
	  echo "vet $$target"; \
	  GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(GO) vet ./... || exit 1; \
	done

unit:
	CGO_ENABLED=0 $(GO) test -timeout 20m ./...

# Of the crash explorer, which has millions of steps, only what its two
# goroutines do with each other; nothing of what only starts other programs. The
# last line is the engine with its arena on the Go heap, where the race detector
# sees it.
race:
ifdef CC_FOUND
	CGO_ENABLED=1 $(GO) test -race -short -timeout 20m $$($(GO) list ./... | grep -v -e internal/crash -e internal/inject)
	CGO_ENABLED=1 $(GO) test -race -run 'Trail|VeresWindows' ./internal/crash
	CGO_ENABLED=1 $(GO) test -race -tags loomheap -run '$(HEAPTESTS)' ./loom
else
	@echo "race: not run, there is no C compiler"
endif

# A few seconds a target, by the number of inputs: at the end of a time the go
# command now and then reports "context deadline exceeded" for a failure. Inputs
# are not minimized: that takes longer than the rest.
fuzz:
	@for target in $$(grep -ho 'func Fuzz[A-Za-z0-9]*' fuzz/*_test.go | cut -d' ' -f2 | sort); do \
	  $(GO) test ./fuzz -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x || exit 1; \
	done

# Ten million crash states of the model, every mutant, every check taken out, 100,000 flipped bits.
# LOOM_CRASH_SEED=n resumes at the seed that the log named last.
crash:
	LOOM_CRASH_STATES=$${LOOM_CRASH_STATES:-10000000} LOOM_CRASH_FLIPS=100000 $(GO) test ./internal/crash -v -timeout 24h

# Every error of every system call of loomctl, and its death before it: writes
# docs/crash-inject.md. Needs strace and the guest.
crash-inject: guest
	LOOM_INJECT=$(CURDIR)/docs/crash-inject.md $(GO) test ./internal/inject -v -timeout 2h

# A million kills. The log says how to go on with one that was interrupted.
crash-kill:
	LOOM_KILL_CYCLES=$${LOOM_KILL_CYCLES:-1000000} $(GO) test ./internal/endure -run TestKill -v -timeout 48h

# The power cut on real file systems: root, /dev/fuse, loop devices, mkfs. 2,000
# states; POWERCUT="-states 1000000 -progress FILE" for the long run, which goes
# on where it was stopped. bench/powercut has the flags.
crash-fs:
	CGO_ENABLED=0 $(GO) build -o bin/loomctl ./cmd/loomctl
	cd bench && CGO_ENABLED=0 $(GO) build -o ../bin/powercut ./powercut
	bin/powercut -loomctl $(CURDIR)/bin/loomctl $(POWERCUT)

# The same for the store and its peers, with a table: about two minutes.
# POWERCUT="-states 27000 -progress FILE -write docs/crash-peers.md" renews that page.
crash-peers:
	@test -n "$(BENCH_TAGS)" || echo "crash-peers: LMDB is not run: there is no lmdb.h"
	cd bench && $(GO) build $(BENCH_TAGS) -o ../bin/powercut ./powercut
	bin/powercut -peers -quiet -states 5400 -each 30 -fs ext4,xfs,btrfs $(POWERCUT)

# Renews the tables and plots of docs/performance.md, in a quarter of an hour.
bench: guest
	cd bench && $(GO) run $(BENCH_TAGS) . -json ../docs/performance/results.json -doc ../docs/performance.md -plots ../docs/performance

# Only the table that says where the time of a checkpoint goes.
profile:
	cd bench && $(GO) run $(BENCH_TAGS) . -run profile

# The bench's own tests. Not in make test: compiling the peers takes longer than that.
bench-check: guest
	cd bench && CGO_ENABLED=0 $(GO) vet ./... && $(GO) vet $(BENCH_TAGS) ./... && $(GO) test $(BENCH_TAGS) ./...

# The files of our store and of its peers, damaged alike: who notices?
crash-corrupt:
	cd bench && $(GO) run $(BENCH_TAGS) ./corrupt -flips $(FLIPS)
