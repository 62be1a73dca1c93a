PYTHON ?= python3

.PHONY: check check-without-tests format lint types fences test bench matrix versions messages snapshots docs

check: check-without-tests test

check-without-tests: lint types fences

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

fences:
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --config pyproject.toml

test:
	$(PYTHON) -m pytest

bench:
	for file in tests/benchmarks/bench_*.py; do $(PYTHON) $$file || exit 1; done

matrix:
	$(PYTHON) -P tests/matrix/run.py

versions:
	$(PYTHON) tests/matrix/versions.py

messages:
	$(PYTHON) -m tui_tuner.locales

docs:
	$(PYTHON) docs/methods.py

snapshots:
	$(PYTHON) -m pytest tests/ui/snapshots --update-snapshots
