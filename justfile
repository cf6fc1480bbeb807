# The daily work. `just` alone lists the recipes.

_default:
    @just --list --unsorted

# Form, lints, the tidy test and the pure tests: under a minute when warm
check:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    cargo test --lib
    cargo test --test main tidy::

# Everything, as the integration runs it
ci:
    scripts/test

# Everything, with the servers left running for the next call
test:
    scripts/test --keep

# Some tests of the one test binary, with the servers' addresses: just only storage::broker
only *names:
    eval "$(scripts/services env)" && eval "$(scripts/node)" && cargo test --test main {{ names }}

# Starts Folio on the embedded backends
serve *flags:
    cargo run --release -- serve {{ flags }}

# Starts Folio on PostgreSQL, Redis, RabbitMQ, MinIO and OpenSearch
serve-real *flags:
    scripts/services up
    eval "$(scripts/services env --folio)" && cargo run --release -- serve {{ flags }}

# The real servers: up, down, status, env
services *words:
    scripts/services {{ words }}

# Runs the benches and holds them against the floors
floors *names:
    scripts/floors {{ names }}

# Puts load on a running Folio
load *flags:
    scripts/load {{ flags }}

# Hundreds of kills and minutes of outages
soak:
    scripts/soak

# Writes the settings' reference and the sample file anew
settings:
    cargo run -- config sample > docs/folio.sample.toml
    cargo run -- config sample --markdown > docs/settings.md
