# The same commands at the desk and in continuous integration. `make demo` and `make test` are all one needs.
CARGO ?= cargo
.PHONY: setup demo test check audit bench soak fuzz docs

setup: ## install what is missing: ffmpeg, chromium, promtool, iproute2, web packages, country database, test clip
	@tools/setup.sh

demo: setup ## an origin, a scheduler and three edges in one process
	$(CARGO) run --locked -- demo $(ARGS)

test: setup ## every test, tidy among them; most of them wait most of the time, hence more threads than cores
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test --locked --workspace

check: setup ## format, lints, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

docs: ## write docs/configuration.md again from the Config types
	$(CARGO) run --locked --quiet -- config docs > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

audit: ## licences, advisories, second versions, unused dependencies
	@tools/audit.sh

bench: setup ## the figures of docs/benchmarks.md
	$(CARGO) bench --locked $(ARGS)

soak: setup ## minutes to hours: long plays while nodes die, and by other makers' players
	@tools/setup.sh players
	WEIR_SOAK_SECONDS=$${WEIR_SOAK_SECONDS:-600} $(CARGO) test --locked --release --test main -- --ignored --nocapture soak

fuzz: ## every parser of network bytes, SECONDS each (default 60)
	@tools/fuzz.sh $${SECONDS_EACH:-60}
