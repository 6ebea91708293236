# Every target does its own set-up: system packages by apt when root and missing, Python packages into .venv.
.DEFAULT_GOAL := help
PY := .venv/bin/python
.PHONY: help build demo test check test-long bench clean

help: ## these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

build: ## set up, build the C core, install into .venv
	@sh tools/setup.sh

demo: build ## the main job on real programs: what was gained, what was given up, where the reports lie
	@$(PY) -m bench.demo

test: ## set up and run the tests
	@sh tools/setup.sh tests
	@$(PY) -m pytest -q -m "not long"

check: build ## format, lint, types, fast tests
	.venv/bin/ruff format --check src tests bench
	.venv/bin/ruff check src tests bench
	.venv/bin/mypy
	@$(PY) -m pytest -q -m "not long and not slow and not root"

test-long: ## every suite and real program
	@sh tools/setup.sh tests spark
	@$(PY) -m pytest -q

bench: build ## the figures: NAME=record_cost make bench
	@$(PY) -m bench $(NAME)

clean: ## what the build made
	rm -rf build .venv
