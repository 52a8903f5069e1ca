# The commands of the README: `make demo`, `make test`, `make bench`. Everything is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2# processes of `make test`
BIN := $(VENV)/bin
GPU_PYTHON ?= python3
INSTALLED := $(VENV)/.installed
VAPOURSYNTH := .venv-vapoursynth
TRITONSERVER := .venv-tritonserver

.PHONY: demo test fuzz soak lint docs bench bench-short gpu gpu-pack gpu-unpack gpu-first gpu-second gpu-rehearsal \
	gpu-test gpu-dry libpcsr libpcsr-test wheel wheel-test vapoursynth tritonserver serve-demo install clean

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py $(if $(CKPT),--ckpt "$(CKPT)")

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

# Thousands of mutated bundles, checkpoints, configs and images; needs gcc. FUZZ_ARGS: see python -m tests.fuzz --help
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

# 10,000 mixed calls per backend, whose memory, threads and open files must stay as they are.
# SOAK_ARGS: see python -m tests.soak --help
soak: $(INSTALLED)
	$(BIN)/python -m tests.soak $(SOAK_ARGS)

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

# What must travel to a GPU machine without network, in the folder gpu-pack. PACK_ARGS: see python -m benchmarks.gpu_pack --help
gpu-pack: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu_pack --output $(PACK) $(PACK_ARGS)

# There, with the pack: the libraries of TensorRT-RTX, where its parts came along.
gpu-unpack:
	$(GPU_PYTHON) -m benchmarks.pack.unpack $(PACK)

# The first five minutes on a GPU, then six more: docs/benchmarks.md says what each measures. Both take the pack where it
# is there. A machine without click and tabulate imports them from the pack's wheels.
PACK ?= gpu-pack
OUT ?= benchmarks/results
FIRST ?= --model carn --model fsrcnn --precision fp16 --size 420x276 --size 960x540 --size 1920x1080 --no-compiled
SECOND ?= ceilings fidelity:srresnet:fp16 time:srresnet:fp16:1920x1080 compiled:carn:fp16:1920x1080 fidelity:carn:fp32 \
	fidelity:fsrcnn:fp32 fidelity:srresnet:fp32 time:srresnet:fp16:960x540 time:srresnet:fp16:420x276 \
	kernels:srresnet:fp16:1920x1080
SECOND_RTX ?= fidelity:carn:fp16 time:carn:fp16:1920x1080
RTX = $(wildcard $(PACK)/libraries)
joined = $(subst $() $(),:,$(strip $(1)))
GPU_PATH = $(call joined,$(abspath $(wildcard $(PACK)/wheels/*.whl)))
GPU_RUN = $(GPU_PYTHON) -m benchmarks.gpu $(patsubst %,--pack %,$(patsubst %/pack.json,%,$(wildcard $(PACK)/pack.json))) --out $(OUT)
named = $(foreach name,$(1),--section $(name))

gpu-first: export PYTHONPATH := $(call joined,$(GPU_PATH) $(PYTHONPATH))
gpu-first:
	$(GPU_RUN) --tests $(FIRST) --budget-s 290 $(GPU_ARGS)

# With TensorRT-RTX it takes part in a run of its own, at the end of the time.
gpu-second: export PYTHONPATH := $(call joined,$(GPU_PATH) $(PYTHONPATH))
gpu-second:
	$(GPU_RUN) $(call named,$(SECOND)) --budget-s $(if $(RTX),240,350) $(GPU_ARGS) $(if $(RTX),; status=$$?; \
	PYTHONPATH="$$PYTHONPATH:$(abspath $(RTX))" $(GPU_RUN)/tensorrt-rtx $(call named,$(SECOND_RTX)) --budget-s 110 $(GPU_ARGS) && exit $$status)

# Both on the CPU, tiny, from a tree as it comes to a machine without git, network, libvips, cffi and the compiled passes.
gpu-rehearsal: $(INSTALLED)
	.ci/gpu-rehearsal $(GPU_PYTHON)

# The tests that need a GPU, likewise with the machine's own Python (and pytest).
gpu-test:
	$(GPU_PYTHON) -m pytest -q -m gpu $$(grep -rl --include='test_*.py' 'mark\.gpu' tests)

# The same program on the CPU, tiny, the kernels interpreted: does it all run? Takes minutes; its times mean nothing.
gpu-dry: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu --device cpu --quick --precision fp32 $(GPU_ARGS)

# The C library, in the folder PREFIX: lib/, include/, and what CMake and pkg-config find it by (docs/embedding.md).
PREFIX ?= build/libpcsr/release
libpcsr:
	cmake -S runtime/libpcsr -B build/libpcsr/plain/build
	cmake --build build/libpcsr/plain/build --parallel $(JOBS)
	cmake --install build/libpcsr/plain/build --prefix $(PREFIX)

# Its tests, of which `make test` runs all but those under ThreadSanitizer.
libpcsr-test: $(INSTALLED)
	PCSR_SANITIZERS=all $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal tests/runtime/libpcsr \
		tests/examples/test_upscale_png.py tests/benchmarks/test_libpcsr.py

# The source distribution and this machine's wheel, in dist/. auditwheel refuses what needs more than glibc 2.28.
WHEEL_PLATFORM = manylinux_2_28_$(shell uname -m)
wheel: $(INSTALLED)
	rm -rf build/wheel dist
	PCSR_REQUIRE_PASSES=1 $(BIN)/python -m build --outdir build/wheel
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m auditwheel repair --strip --plat $(WHEEL_PLATFORM) --only-plat -w dist build/wheel/*.whl
	cp build/wheel/*.tar.gz dist

# That wheel in new environments of Python 3.11, 3.12 and 3.13, those that are here, with no compiler on the path.
wheel-test: wheel
	.ci/wheel-test dist/*.whl

# VapourSynth wants Python 3.12: the tests of its filters run in an environment of their own.
vapoursynth: $(VAPOURSYNTH)/.installed

$(VAPOURSYNTH)/.installed: pyproject.toml constraints.txt setup.py $(INSTALLED)
	@python=$$(.ci/find-python 3.12) || { echo "VapourSynth needs Python 3.12 or newer; name one by PCSR_VAPOURSYNTH_PYTHON"; exit 1; }; \
	"$$python" -m venv $(VAPOURSYNTH)
	$(VAPOURSYNTH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[cpu,vapoursynth]' pytest vapoursynth-mlrt-ort==17.1.1
	touch $@

# Triton Inference Server, in the wheel nvidia-pytriton, wants numpy below 2: an environment of its own.
tritonserver: $(TRITONSERVER)/.installed

$(TRITONSERVER)/.installed: pyproject.toml constraints.txt setup.py $(INSTALLED)
	@$(BIN)/python -c 'import platform as p, sys; wrong = ("Linux" != p.system() and p.system()) or ("x86_64" != p.machine() and p.machine()) \
		or (sys.version_info >= (3, 13) and "Python " + p.python_version()) \
		or ([int(n) for n in p.libc_ver()[1].split(".")] < [2, 35] and "%s %s" % p.libc_ver()); \
		sys.exit(wrong and f"nvidia-pytriton needs Linux x86_64, glibc 2.35 and Python 3.11 or 3.12, found {wrong}")'
	$(BIN)/python -m venv $(TRITONSERVER)
	grep -v '^numpy==' constraints.txt >$(TRITONSERVER)/constraints.txt
	$(TRITONSERVER)/bin/python -m pip install --quiet --disable-pip-version-check -c $(TRITONSERVER)/constraints.txt \
		-e '.[cpu,serve]' pytest numpy==1.26.4
	touch $@

# A photo through the running server, by plain HTTP.
serve-demo: $(TRITONSERVER)/.installed
	$(BIN)/python -m examples.serving.demo

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt setup.py $(wildcard runtime/cpu/native/*.*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pcsr needs Python 3.11 or newer; pass PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(VAPOURSYNTH) $(TRITONSERVER) demo benchmarks/cache build dist *.egg-info
	find benchmarks/results -type f ! -name README.md ! -name 'gpu-*-20[0-9][0-9]-*' -delete  # runs that are kept stay
