.PHONY: up demo test check gen bench requirements

up: ## builds everything and runs it on this machine until Ctrl-C
	@scripts/setup
	cargo build --locked -p ordermesh
	target/debug/ordermesh dev

demo: ## twenty orders from REST to DELIVERED, verified against the simulators' ledgers
	@scripts/setup
	cargo build --locked -p ordermesh
	target/debug/ordermesh demo

test: ## everything that must hold
	@scripts/ci

check: ## everything that must hold, without running the tests
	@scripts/ci checks

gen: ## writes gen/ from proto/
	@scripts/protos
	cargo run --locked -p codegen

bench: ## measures against the floors and writes docs/benchmarks.md
	@scripts/setup
	cargo build --locked --release -p ordermesh -p simulators
	cargo bench --locked -p journeys --bench load

requirements: ## how many rows of docs/requirements.tsv are built, and which are open
	@cargo run --locked -q -p journeys --bin requirements
