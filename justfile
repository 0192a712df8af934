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

# Half a year of some accounts, for `seeds` seeds from `first` on.
soak seeds="300" first="0":
    FIRST={{ first }} SEEDS={{ seeds }} cargo test --locked -p keysteward-tests --test it simulation_of_half -- --nocapture

# The tests against Stripe's own packages and other JWE libraries; installs those first.
interop:
    .ci/run interop

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

# What a sweep costs among that many accounts; one line of JSON each.
scale *accounts="10000 100000":
    for n in {{ accounts }}; do cargo run --release --locked -q -p keysteward-tests --example scale -- $n; done
