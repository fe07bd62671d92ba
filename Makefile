# What can be done here from a shell; `make help` lists it.

JOBS ?= $(shell cores=$$(nproc 2>/dev/null || sysctl -n hw.ncpu); echo $$((cores > 2 ? 2 : cores)))
FUZZ_SECONDS ?= 60
FUZZ_JOBS ?= $(JOBS)
REPEAT ?= 1000
MINUTES ?= 30
PREFIX ?= /usr/local

# So that ccache finds what another clone compiled with the same compiler.
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_COMPILERCHECK ?= content
export CCACHE_SLOPPINESS ?= locale,pch_defines,time_macros
ifeq ($(shell uname),Darwin)
  export OPENSSL_ROOT_DIR ?= $(shell brew --prefix openssl@3)
endif

# $(call build,preset[,options of cmake[,targets]])
define build
@CMAKE_CXX_COMPILER_LAUNCHER=$$(command -v ccache) cmake --preset $(1) $(2) >/dev/null
@start=$$(date +%s); cmake --build build/$(1) -j $(JOBS) $(if $(3),--target $(3)) && echo "Built in $$(($$(date +%s) - start)) s."
endef

# Without the tests, until `make test` turns them on in the same place.
without-tests = $(if $(wildcard build/release/CMakeCache.txt),,-DP2P_TESTS=OFF)

# $(call no-leaks[,another log]): what tests and the programs that they started have said names nobody together with a secret key.
define no-leaks
@build/release/tests/leaks $(P2P_TEST_LOG) $(1)
endef

# $(call run-tests,preset)
define run-tests
@ctest --test-dir build/$(1) -j $(JOBS) --timeout 120 --output-on-failure --no-tests=error --output-junit ctest.xml
endef

.PHONY: help deps deps-dev build demo demo-llm test asan tsan coverage faults soak endurance siege bench bench-micro bench-instructions bench-mdns interop interop-memcheck differential fuzz fuzz-record fuzz-long format format-check layering threat-model tidy install clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: JOBS=$(JOBS) compilers at once, FUZZ_SECONDS=$(FUZZ_SECONDS), REPEAT=$(REPEAT), MINUTES=$(MINUTES), PREFIX=$(PREFIX), DEPS=skip to install no packages"

demo: build  ## Build what is needed and show two agents solving a task
	@build/release/mvp_demo

demo-llm: build need-llm  ## Have a language model on one agent answer another; MODEL=FILE.gguf, PROMPT=TEXT
	@scripts/demo-llm "$(MODEL)" $(if $(PROMPT),"$(PROMPT)")

test: export P2P_TEST_LOG = $(CURDIR)/build/release/said
test: need-test  ## Build and run all tests
	$(call build,release,-DP2P_TESTS=ON)
	@rm -f $(P2P_TEST_LOG)
	$(call run-tests,release)
	$(call no-leaks,build/release/Testing/Temporary/LastTest.log)

build: need-demo  ## Build build/release/p2p-agent and mvp_demo
	$(call build,release,$(without-tests),p2p-agent mvp_demo)

deps: need-test  ## Install the packages that demo and test need
deps-dev: need-bench  ## Install those that all other targets need, too

need-%:
	@scripts/deps $*

asan endurance: export UBSAN_OPTIONS = halt_on_error=1:print_stacktrace=1
asan: export LLVM_PROFILE_FILE = $(CURDIR)/build/asan/profiles/%4m.profraw
asan: need-dev  ## Run the tests with AddressSanitizer and UndefinedBehaviorSanitizer
	$(call build,asan)
	@rm -rf build/asan/profiles
	$(call run-tests,asan)

tsan: need-dev  ## Run the tests with ThreadSanitizer
	$(call build,tsan)
	$(call run-tests,tsan)

coverage: asan  ## The same, and print the lines of src/ that the tests reach; fail under 90 %, and over UNARGUED (0) places without an argument
	@scripts/coverage $(UNARGUED)

faults: need-test  ## Break connections at every byte, take random steps, pull cables; FAULTS_SEED=N for the same steps again
	$(call build,release,-DP2P_TESTS=ON,p2p-agent cuts fault_tests)
	@scripts/faults $(JOBS) $(FAULTS_SEED)

soak: need-test  ## Run the demo's course REPEAT times, and judge times and what is left behind
	$(call build,release,-DP2P_TESTS=ON,mvp_demo promises)
	@build/release/mvp_demo --repeat $(REPEAT)
	@build/release/promises

endurance: export ASAN_OPTIONS = quarantine_size_mb=16
endurance: export LLVM_PROFILE_FILE = /dev/null
endurance: PRESET = release
endurance: need-test  ## Run providers and requesters for MINUTES, and judge what they hold at the end of each; PRESET=asan or tsan
	$(call build,$(PRESET),-DP2P_TESTS=ON,endurance)
	@build/$(PRESET)/endurance $(MINUTES)

siege: need-dev  ## Attack a provider from other addresses, and judge what a well-behaved peer notices of it
	$(call build,release,-DP2P_TESTS=ON,p2p-agent)
	@bench/siege.py

bench: need-bench  ## Measure p2p-agent and other libp2p implementations, and write docs/performance.md; ROUNDS=N
	$(call build,release,-DP2P_TESTS=ON,p2p-agent interop_agent floor)
	@bench/run.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(BENCH)

interop: export P2P_TEST_LOG = $(CURDIR)/build/release/said-to-peers
interop: need-dev build  ## Run p2p-agent against other libp2p implementations
	$(call build,release,-DP2P_TESTS=ON,leaks interop_recorder)
	@rm -f $(P2P_TEST_LOG)
	@tests/interop/run.py
	$(call no-leaks)

interop-memcheck: need-dev build  ## The same with p2p-agent and its library under valgrind's memcheck
	@tests/interop/run.py --memcheck

differential: need-dev  ## Put COUNT inputs (100000) into our sessions and into others', and compare what came of them; SEED=N
	$(call build,release,-DP2P_TESTS=ON,differential)
	@tests/interop/differential/run.py $(if $(COUNT),--inputs $(COUNT)) $(if $(SEED),--seed $(SEED))

bench-micro: need-dev  ## Time each layer by itself; ONLY=REGEX takes some
	$(call build,release,-DP2P_TESTS=ON,micro)
	@build/release/bench/micro --benchmark_counters_tabular=true $(if $(ONLY),--benchmark_filter='$(ONLY)')

bench-instructions: need-dev  ## Count the instructions of a handshake and a task, and what changed; RECORD=1 writes them down
	$(call build,release,-DP2P_TESTS=ON,instructions)
	@scripts/bench-instructions $(if $(RECORD),--record)

bench-mdns: need-dev  ## Let 2 to 1,000 agents discover each other for an hour of virtual time, and judge what they say; AGENTS="10 100" takes less
	$(call build,release,-DP2P_TESTS=ON,mdns_scale)
	@bench/mdns.py $(AGENTS)

fuzz: need-dev  ## Fuzz each decoder for FUZZ_SECONDS, FUZZ_JOBS at once
	$(call build,fuzz,,fuzz/all)
	@scripts/fuzz $(FUZZ_SECONDS) $(FUZZ_JOBS)

fuzz-record: need-dev  ## Add to the fuzzers' corpora what the interop peers say
	$(call build,release,-DP2P_TESTS=ON,p2p-agent interop_recorder)
	$(call build,fuzz,,fuzz/all)
	@scripts/fuzz-record

fuzz-long: need-dev  ## Fuzz on until each target has had its CPU minutes, and write the table in docs/testing.md
	$(call build,fuzz,,fuzz/all)
	@scripts/fuzz-long --at-once $(JOBS)

sources = git ls-files -co --exclude-standard -- '*.cpp' '*.hpp'

format: need-dev  ## Format all C++
	@$(sources) | xargs clang-format -i

format-check: need-dev  ## Fail if `make format` would change anything
	@$(sources) | xargs clang-format --dry-run --Werror

layering: need-demo  ## Fail on an include, a library or a symbol where it does not belong
	$(call build,release,$(without-tests),p2p_wire)
	@scripts/layering

threat-model: need-dev  ## Fail if docs/threat-model.md names limits or tests that are not there
	@scripts/threat-model

tidy: need-dev  ## Build with clang-tidy
	$(call build,tidy)

install: need-demo  ## Install the program and the library under PREFIX
	$(call build,release,$(without-tests))
	@cmake --install build/release --prefix $(PREFIX)

clean:  ## Remove what was built
	rm -rf build
