# The commands of the README: `make demo`, `make test`, `make bench`. Everything is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2# processes of `make test`
BIN := $(VENV)/bin
GPU_PYTHON ?= python3
INSTALLED := $(VENV)/.installed

.PHONY: demo test fuzz lint docs bench bench-short gpu gpu-test gpu-dry install clean

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py $(if $(CKPT),--ckpt "$(CKPT)")

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

# Thousands of mutated bundles, checkpoints, configs and images; needs gcc. FUZZ_ARGS: see python -m tests.fuzz --help
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ and the reference of the public names, in build/site.
docs: $(INSTALLED)
	$(BIN)/mkdocs build --strict

# MODEL and SIZE select: make bench MODEL=carn SIZE="1080p 4k 1680x1104" (width x height)
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.bench $(MODEL:%=--model %) $(SIZE:%=--size %)

bench-short: $(INSTALLED)
	$(BIN)/python -m benchmarks.bench --short

# Needs an NVIDIA GPU and a Python that has PyTorch for it, onnx, onnxscript, onnxruntime, pyyaml, click and tabulate;
# installs nothing. GPU_ARGS: see $(GPU_PYTHON) -m benchmarks.gpu --help
gpu:
	$(GPU_PYTHON) -m benchmarks.gpu $(GPU_ARGS)

# The tests that need a GPU, likewise with the machine's own Python (and pytest).
gpu-test:
	$(GPU_PYTHON) -m pytest -q -m gpu $$(grep -rl --include='test_*.py' 'mark\.gpu' tests)

# The same program on the CPU, tiny, the kernels interpreted: does it all run? Takes minutes; its times mean nothing.
gpu-dry: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu --device cpu --quick --precision fp32 $(GPU_ARGS)

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt setup.py runtime/cpu/native/pixels.c runtime/cpu/native/passes.h runtime/cpu/native/pixels.h runtime/cpu/native/build.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pcsr needs Python 3.11 or newer; pass PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo benchmarks/cache benchmarks/results build dist *.egg-info
