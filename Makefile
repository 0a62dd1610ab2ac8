# `make help` lists what there is to do. Everything sets up what it needs; what is up to date is not done again.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
CPP := $(shell git ls-files --cached --others --exclude-standard 'runtime/*.cc' 'runtime/*.h' 'runtime/*.hpp' 'tests/*.cc' 'tests/*.h' 'kernels/*.h' 2>/dev/null)
NATIVE := CMakeLists.txt pyproject.toml $(shell find runtime kernels targets compiler/tiercast/codegen -type f -not -name '*.pyc' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench bench-arm bench-arm-int8 bench-gate bench-against bench-parity bench-peers bench-peers-int8 bench-qat bench-weights bench-ptq bench-outliers bench-buckets bench-int8 bench-large bench-tvm tf2onnx conformance torch-ops zoo ops-table tflite-table fix clean bench-outliers

help: ## list these commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup: $(STAMPS)/native ## virtual environment, apt packages where allowed, native build

$(STAMPS)/apt: tools/setup_apt.sh
	@mkdir -p $(STAMPS)
	tools/setup_apt.sh
	@touch $@

$(STAMPS)/python: pyproject.toml tools/setup_python.sh | $(STAMPS)/apt
	@mkdir -p $(STAMPS)
	PYTHON=$(PYTHON) tools/setup_python.sh $(VENV)
	@touch $@

# The editable install knows modules by their paths: it is made again when one is new, moved or gone.
$(STAMPS)/modules: FORCE
	@mkdir -p $(STAMPS)
	@find compiler/tiercast -name '*.py' | sort | cmp -s - $@ || find compiler/tiercast -name '*.py' | sort > $@

FORCE:

$(STAMPS)/native: $(NATIVE) $(STAMPS)/modules $(STAMPS)/python $(STAMPS)/apt
	PATH="$(abspath $(RUN)):$$PATH" $(RUN)/python -m pip --disable-pip-version-check -q install --no-build-isolation --no-deps -e .
	@touch $@

demo: setup ## compile the trained effect for this machine and ARM, run both, write demo/
	$(RUN)/python tools/demo.py --output demo

test: setup $(STAMPS)/ctest ## all tests: Python, C++, and ARM under qemu
	$(RUN)/python -m pytest -q -n 2 --dist worksteal

$(STAMPS)/ctest: $(STAMPS)/native $(shell find tests/runtime -type f 2>/dev/null)
	PATH="$(abspath $(RUN)):$$PATH" cmake -S . -B build/host -G Ninja -DTIERCAST_TARGET=host -DTIERCAST_PYTHON=$(abspath $(RUN))/python >/dev/null
	cmake --build build/host --target runtime_tests
	ctest --test-dir build/host --output-on-failure
	@touch $@

check: $(STAMPS)/python ## lint, format, types, layers and the quickest tests (under a minute)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	@clang-format-19 --dry-run --Werror $(CPP)
	$(RUN)/lint-imports
	$(RUN)/mypy
	$(RUN)/python -m pytest -q -m "not native and not qemu and not slow and not peer" tests/lower tests/package tests/codegen tests/kernels

fix: $(STAMPS)/python ## format and apply the linter's fixes
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .
	@clang-format-19 -i $(CPP)

bench: setup ## time every kernel of this machine on its benchmark shapes
	$(RUN)/tiercast bench kernels

bench-buckets: setup ## one package of shape buckets beside a package per shape: bytes of packages and memory
	$(RUN)/python -m benchmarks.buckets

bench-int8: setup ## our int8 beside our f32 here: five nets, single layers
	$(RUN)/python -m benchmarks.int8

bench-large: setup ## a model of 2.2 GB compiled and verified: peak memory, 5 GB of disk
	$(RUN)/python -m benchmarks.large

bench-gate: setup ## no AArch64 kernel executes more instructions than benchmarks/baseline says
	$(RUN)/python -m benchmarks.gate

bench-against: setup ## count the AArch64 kernels of BASE (main) and of HEAD and show what changed
	$(RUN)/python -m benchmarks.against $(or $(BASE),main)

bench-arm: setup ## instructions of every reference model on AArch64 beside ncnn, MNN and onnxruntime, under qemu
	PYTHON=$(PYTHON) sh benchmarks/peers/setup.sh
	$(RUN)/python -m benchmarks.arm

bench-arm-int8: setup ## AArch64 instructions of quantized reference models over those in f32, under qemu
	$(RUN)/python -m benchmarks.arm.quantized

bench-parity: setup ## every reference model against PyTorch, here and on ARM under qemu
	$(RUN)/python -m benchmarks.parity

bench-tvm: setup ## kernels that TVM writes beside ours, op by op, CPU time
	$(RUN)/python -m benchmarks.long_tail

bench-outliers: setup ## a net that plain quantization breaks, rescued by a contract that names the layer
	$(RUN)/python -m benchmarks.outliers

bench-ptq: setup ## quantize the shipped effect without training, wholly and under contracts: IoU, speed, size
	$(RUN)/python -m benchmarks.ptq

bench-qat: setup ## train the shipped effect for integers (8 and 4 bits of weights) and measure the IoU of each
	$(RUN)/python -m benchmarks.qat

bench-weights: setup ## weights in f16, 8 and 4 bits: bytes and errors of packages, IoU of the shipped effect
	$(RUN)/python -m benchmarks.weights_only

bench-peers: setup ## every reference model against six other engines, 1 and 2 threads, interleaved
	PYTHON=$(PYTHON) sh benchmarks/peers/setup.sh
	$(RUN)/python -m benchmarks.peers.bench

bench-peers-int8: setup ## five reference models in int8 against the int8 of other engines, 1 thread, interleaved
	PYTHON=$(PYTHON) sh benchmarks/peers/setup.sh
	$(RUN)/python -m benchmarks.peers.bench --int8 --threads 1

tf2onnx: setup ## run tf2onnx's own tests with our engine in place of onnxruntime
	$(RUN)/python -m benchmarks.tf2onnx

conformance: setup ## run all of ONNX's own backend tests (2033, minutes) and write docs/conformance.md
	$(RUN)/python -m tests.conformance.report

zoo: setup ## convert other libraries' architectures, compare each with its framework and write docs/zoo.md
	$(RUN)/python tools/pins.py zoo | $(RUN)/python -m pip --disable-pip-version-check -q install -r /dev/stdin
	$(RUN)/python tools/pins.py zoo-alone | $(RUN)/python -m pip --disable-pip-version-check -q install --no-deps -r /dev/stdin
	$(RUN)/python -m benchmarks.zoo --write

torch-ops: setup ## convert PyTorch's own samples of its operators (op_db) and compare each with eager PyTorch
	$(RUN)/python -m benchmarks.torch_op_db

ops-table: setup ## write docs/ops.md, the table of ops x back-ends x dtypes
	$(RUN)/python tools/ops_table.py

tflite-table: setup ## write the table of operators in docs/tflite.md
	$(RUN)/python tools/tflite_table.py

clean: ## remove what was built (the virtual environment stays)
	rm -rf build demo
