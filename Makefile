# `make run`: the demo study, to results/report.html. `make test`: every test. `make check`: the linters.
# All three set up .venv first, from the locks. PYTHON names the Python to use (3.11 to 3.13).
# `make run` installs CUDA too where NVIDIA's driver shows a GPU; `make run GPU=0` leaves it out, and trains on the processor.

PYTHON = python3
GPU := $(shell test "$$(uname)" = Linux && nvidia-smi -L >/dev/null 2>&1 && echo 1 || echo 0)

.PHONY: run test test-gpu soak mutants check bench pictures lock

run: .venv/installed $(if $(filter-out 0,$(GPU)),.venv/gpu)
	.venv/bin/snakemake $(if $(filter command,$(origin GPU)),$(if $(filter 0,$(GPU)),--resources gpu=0))

# Three files at a time: much of it is waiting for processes to start. The longest come first: last, they would be waited
# for alone. The interruptions have clocks and the machine alone.
LONGEST = tests/slurm tests/test_colab.py tests/test_workflow.py

test: .venv/installed
	.venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 20 $(LONGEST) tests \
	  --ignore tests/test_interruptions.py
	.venv/bin/python -m pytest tests/test_interruptions.py

# What only a real GPU can show.
test-gpu: .venv/installed $(if $(filter-out 0,$(GPU)),.venv/gpu)
	.venv/bin/python -m pytest -m gpu -rs tests/test_on_gpu.py

# What takes long: training runs killed a hundred times in all, at random, and every bit compared; each benchmark at a small
# size; the estimated ceiling and large tables; Slurm, with its slow clocks. Forty minutes.
soak: .venv/installed
	.venv/bin/python -m pytest -m soak
	MIN_JOB_AGE=300 .venv/bin/python -m pytest tests/slurm

# Changes scripts/ in 300 small ways and says which no test notices; an hour and a half. SAMPLE=60: fewer. Not in CI.
mutants: .venv/installed
	$(PYTHON) -m venv .venv/mutants
	.venv/mutants/bin/python -m pip install --quiet cosmic-ray==8.7.0 psutil
	.venv/mutants/bin/python tests/mutants.py

check: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint
	@if [ -x tests/node_modules/.bin/biome ]; then tests/node_modules/.bin/biome check --error-on-warnings; \
	  else echo "The report's style and script are not linted here: npm ci --prefix tests"; fi

# Writes docs/benchmarks.md; docs/speed.md says what each program measures. IMAGES=FOLDER, a folder for each class: what a
# notebook and Baton do with these. Most of a day, on a machine that does nothing else and has 50 GB of disk. One of them
# alone: `python tests/record.py tests/benchmark_step.py`.
BENCHMARKS = benchmark benchmark_step benchmark_threads benchmark_saving benchmark_backup benchmark_plan \
  benchmark_comparison benchmark_copies benchmark_demo benchmark_large benchmark_scale benchmark_stages

bench: .venv/installed
	set -e; for name in $(BENCHMARKS); do .venv/bin/python tests/record.py tests/$$name.py; done
	.venv/bin/python tests/record.py tests/benchmark_notebook.py $(IMAGES)
	$(if $(IMAGES),.venv/bin/python tests/record.py tests/benchmark_demo.py 548e68d $(IMAGES))

# Writes the pictures of README from the demo study. Needs chromium and chromedriver.
pictures: .venv/installed
	.venv/bin/snakemake --directory results/pictures/demo
	PYTHONPATH=scripts:tests .venv/bin/python tests/pictures.py results/pictures/demo/results docs

# Renews the four locks from pyproject.toml: what running needs, what exporting and GPUs need beyond it, and what tests
# and linters do. Needs uv.
lock:
	$(COMPILE) pyproject.toml --output-file requirements.lock
	python3 -c "$$EXTRA" export | $(COMPILE) - --constraint requirements.lock --output-file export.lock
	python3 -c "$$EXTRA" gpu | $(COMPILE) - --constraint requirements.lock --output-file requirements.gpu.lock
	$(COMPILE) --group dev --constraint requirements.lock --constraint export.lock --output-file tests/requirements.lock
	uv pip compile --universal --python-version 3.11 --format pylock.toml --quiet requirements.lock export.lock \
		| .venv/bin/python tests/wheels.py > tests/wheels.csv

define EXTRA
import sys, tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]], sep="\n")
endef
export EXTRA

COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links

HAS_PYTHON = command -v $(PYTHON) >/dev/null || { echo "Baton cannot be set up: there is no $(PYTHON) here; install Python \
3.11 to 3.13, or name one: make run PYTHON=/path/to/python3.12"; exit 1; }

.venv/installed: requirements.lock export.lock tests/requirements.lock
	@$(HAS_PYTHON)
	@$(PYTHON) envs/set_up.py $@ $^

.venv/gpu: .venv/installed requirements.gpu.lock
	@echo "NVIDIA's driver shows a GPU: installing CUDA for TensorFlow too. GPU=0 leaves it out."
	@$(PYTHON) envs/set_up.py $@ requirements.gpu.lock
