# Shortcuts for the desk. The authority is `.ci/run`; these recipes are parts of it.

# List the recipes.
default:
    @just --list

# Run what a change must pass before it is reviewed.
check: fmt-check clippy docs test

# Format the code.
fmt:
    cargo fmt --all

# Fail on code that is not formatted.
fmt-check:
    cargo fmt --all --check

# Lint everything, with warnings denied.
clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Build the documentation, private items too, with warnings denied.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --document-private-items

# Run all tests. Without Java and Maven, those against a real broker are skipped, loudly.
test:
    cargo test --workspace

# Run the simulation over many seeds: `just sim 20000`.
sim seeds="2000":
    MILENA_SIM_SEEDS={{ seeds }} cargo test --profile sim -p milena --lib sim:: -- --nocapture

# Show that the simulation finds bugs that are planted in a scratch copy: `just plants`, or some of them by name.
plants *names:
    tests/plants/run {{ names }}

# Run the layer, circle and size rules alone.
layers:
    cargo test --test layers

# Measure what a record costs; add `-- "1024 B"` to measure the cases with this in their name.
bench *arguments:
    cargo bench -p milena --features testing --bench path {{ arguments }}

# Measure milena's producer beside librdkafka: `just peers lz4 --kafka 4.4.0`; see benches/peers/README.md.
peers *arguments:
    cargo run --release --locked --manifest-path benches/peers/Cargo.toml -- {{ arguments }}

# Check licences, bans and sources of the dependencies.
deny:
    cargo deny check bans licenses sources

# Check the dependencies against the advisory database (needs the network).
advisories:
    cargo deny check advisories

# Run a command with MILENA_BOOTSTRAP set to a real Kafka broker: `just kafka cargo run --example pipeline`.
kafka *command:
    cargo run -p protocol-tests --bin kafka -- -- {{ command }}

# Compare the public API with the last release on the registry.
semver:
    cargo semver-checks check-release -p milena

# Run the whole gate, real brokers included.
ci:
    CI=true bash .ci/run
