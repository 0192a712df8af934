# Shorthand. Everything here is one command that also works without just.

# The whole bundle on this machine, with a page to click through.
dev:
    cargo dev

# The main path without a person.
demo:
    cargo demo

# `just test -p keysteward plan` for some of them.
test *args:
    cargo test --locked {{ if args == "" { "--workspace" } else { args } }}

# Half a year of a few accounts, for the first `seeds` seeds.
soak seeds="300":
    SEEDS={{ seeds }} cargo test --locked -p keysteward-tests --test it simulation

# One target of fuzz/Cargo.toml on stable Rust; needs `cargo install cargo-fuzz --locked`. What breaks a property
# belongs into fuzz/seeds, where `cargo test` finds it too.
fuzz target seconds="60":
    mkdir -p fuzz/corpus/{{ target }}
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{ target }} fuzz/corpus/{{ target }} fuzz/seeds/{{ target }} -- \
        -max_total_time={{ seconds }} -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=16384

# The tests against Stripe's own packages and other JWE libraries; installs those first.
interop:
    .ci/run interop

# The store and the KMS vault on engines that are not ours; installs those first.
referee:
    tests/referee/run

# The bundle as it is deployed, in an emulator of AWS. `just system-test --build-dir FOLDER` skips the build.
system-test *args:
    tests/system/run {{ args }}

fmt:
    cargo fmt --all

lint:
    .ci/run format clippy doc

# Everything that CI runs.
check:
    .ci/run

# Takes the snapshots as they now are; look at `git diff` afterwards.
bless:
    INSTA_UPDATE=always cargo test --workspace --locked
