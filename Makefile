# make demo       three targets from one example, verified, measured, one page
# make loop-demo  a fleet drifts, is noticed, gets a better model; one page
# make test       every fast test and all checks
# make test-long  proofs that take minutes
# make lint       ruff, mypy, pyright, import-linter
# make venv       .venv with all extras and tools
# Needs Python 3.11 or newer; no root. PYTHON=... chooses the interpreter, EXTRAS=... the extras that tests install.

PYTHON ?= python3
EXTRAS ?= mcu,flash,energy,tune,tflm,simplify,keras,torch,tensorrt,train,acquire,loop,spark,explain,telemetry
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
JOBS ?= 2

DEMO := build/demo
DEMO_TARGETS := mps2_an386 rp2040_pico rv32_virt
EXAMPLE := examples/digits

LOOP := examples/loop/loop.toml

.PHONY: demo loop-demo test test-long lint venv tools clean

venv: .venv/tests.stamp

# The core and what runs programs for microcontrollers: enough for `make demo`.
.venv/core.stamp: pyproject.toml tests/constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c tests/constraints.txt -e ".[mcu]"
	@touch $@

.venv/tests.stamp: .venv/core.stamp tests/requirements.txt
	$(PIP) install --pre -c tests/constraints.txt -e ".[$(EXTRAS)]" -r tests/requirements.txt
	@$(BIN)/python -m firmware.update.monocypher >/dev/null || echo "SKIPPED: Monocypher's sources, for boot loaders"
	@touch $@

demo: .venv/core.stamp
	@for target in $(DEMO_TARGETS); do \
	  $(BIN)/strop compile $(EXAMPLE)/digits.onnx --target $$target --format c --calibrate $(EXAMPLE)/calibration.npz \
	    -o $(DEMO)/digits-$$target || exit $$?; echo; \
	  $(BIN)/strop verify $(DEMO)/digits-$$target --on unicorn --compiler zig --data $(EXAMPLE)/test.npz \
	    --model $(EXAMPLE)/digits.onnx || exit $$?; echo; \
	done
	@$(BIN)/strop report $(DEMO)/digits-* --on unicorn --compiler zig -o $(DEMO)/report.html

loop-demo: .venv/tests.stamp
	@rm -rf build/loop
	@$(BIN)/strop loop start $(LOOP)
	@$(BIN)/strop loop run $(LOOP) --rounds 10
	@$(BIN)/strop loop run $(LOOP) --rounds 2
	@$(BIN)/strop loop status $(LOOP)
	@$(BIN)/strop loop report $(LOOP)

tools:
	@.ci/tools
	@PYTHON=$(PYTHON) .ci/services

test: .venv/tests.stamp tools lint
	$(BIN)/python -m pytest -m "not long" -n $(JOBS)

test-long: .venv/tests.stamp tools
	$(BIN)/python -m pytest -m long -n $(JOBS)

lint: .venv/tests.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf build dist
