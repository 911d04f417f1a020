# `just` lists these. Each is a command that can also be typed.

_default:
    @just --list

# What CI runs: format, lints, every tier of tests.
ci:
    .ci/run

# The tests whose needs are met.
test:
    tests/run

# Format and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The code made from protos, anew.
gen:
    cargo run --locked -p kmslab-kmsv2 --example gen_kmsv2
    cargo run --locked -p kmslab-googleapis --example gen_googleapis
    cargo run --locked -p kmslab-etcd-inspect --example gen_etcd

# Whether the checked-in code is what the protos make.
gen-check:
    cargo run --locked -p kmslab-kmsv2 --example gen_kmsv2 -- --check
    cargo run --locked -p kmslab-googleapis --example gen_googleapis -- --check
    cargo run --locked -p kmslab-etcd-inspect --example gen_etcd -- --check

# Breaks one part at a time and sees that a test notices.
mutants *NAMES:
    tests/mutants {{NAMES}}

# Throughput of the emulator against its own floor, a bare axum server; the inspector at a million values beside etcdctl.
bench:
    cargo bench --locked --workspace --bench encrypt --bench inspect

# What must hold at large numbers: 464,000 calls that mean no good, 6,000 damaged databases, 10,000 connections, 1,000,000 Encrypts.
soak *NAMES:
    cargo test --locked --release --workspace --test soak -- --ignored --nocapture --test-threads 1 {{NAMES}}
