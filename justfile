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

# Half a year of some accounts, for `seeds` seeds from `first` on; twice as fast as in `cargo test`, once it is built.
soak seeds="300" first="0":
    FIRST={{ first }} SEEDS={{ seeds }} cargo test --profile soak --locked --test simulation simulation_of_half -- --nocapture

# One target of fuzz/targets, or all of them: coverage-guided, on stable, sharing what the tests have built.
fuzz target="all" seconds="60":
    fuzz/run {{ target }} {{ seconds }}

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

# What ships, for arm64, x86_64 or musl: built, checked, zipped, with SHA-256 sums and bills of materials.
package architecture="arm64":
    infra/package {{ architecture }}

# The release binaries of this machine's kind under the Lambda Runtime API.
runtime:
    .ci/run runtime

# What the functions cost, as multiples of a hello-world: the tables of docs/performance.md.
bench starts="15" invokes="300":
    infra/package --binaries x86_64
    cargo run --locked --quiet --package keysteward-bench -- {{ starts }} {{ invokes }}

# What a sweep costs among few, many and (with nothing due) very many accounts: a table of docs/performance.md.
scale few="10000" many="100000" idle="1000000":
    cargo build --profile soak --locked --quiet -p keysteward-rotate -p keysteward-tests --bin keysteward-rotate --example scale
    cargo run --profile soak --locked --quiet -p keysteward-tests --example scale -- {{ few }} {{ many }} {{ idle }}
