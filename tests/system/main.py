"""Deploys the bundle into an emulator and drives it. `run` starts this with what it needs installed."""

import argparse
import shutil
import sys
import time
import traceback
from pathlib import Path

import checks
import deploy
import resources
import rights
from parts import emulator, free_port, stripe, tail
from stack import Stack, check

WORKSPACE = Path(__file__).resolve().parents[2]


def main() -> int:
    arguments = read_arguments()
    build = arguments.build_dir or arguments.target / "sam" / "build"
    source = WORKSPACE / "template.yaml"
    if not arguments.build_dir:
        deploy.build(source, build)
    bootstraps = sorted(str(path) for path in build.glob("*Function/bootstrap"))
    check(len(bootstraps) == 5, f"{build} does not hold the five functions")
    print("\n".join(["what is deployed:", *(f"   {path}" for path in bootstraps)]), flush=True)
    if arguments.build_only:
        return 0
    folder = arguments.target / "system" / "last"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    started = time.monotonic()
    try:
        drive(arguments.target, source, build.resolve(), folder)
    except Exception:
        traceback.print_exc()
        for log in sorted(folder.glob("*.log")):
            print(f"\n-- the end of {log}\n{tail(log, 25)}", file=sys.stderr)
        return 1
    print(f"the deployed bundle does what it should ({time.monotonic() - started:.0f} s; logs in {folder})")
    return 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/system/run", description=__doc__)
    parser.add_argument("--target", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--build-dir", type=lambda text: Path(text).resolve(), help="what an earlier sam build wrote")
    parser.add_argument("--build-only", action="store_true", help="build, say where, and deploy nothing")
    return parser.parse_args()


def drive(target: Path, source: Path, build: Path, folder: Path) -> None:
    """Everything between the first process and the last check."""
    port, stripe_port = free_port(), free_port()
    endpoint, stripe_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{stripe_port}"
    with emulator(target / "system" / "emulator", port, folder):
        step("sam deploy")
        parameters = {
            "StripeAppId": "com.example.keysteward",
            "KeyAdminRoleArn": deploy.KEY_ADMINISTRATOR,
            "InstallUrlTest": f"{stripe_url}/apps/install/link/one_test?redirect_uri={endpoint}/install/callback",
            "StripeApiBase": stripe_url,
            "Architecture": "x86_64",
        }
        deploy.deploy(source, build, folder, endpoint, parameters)
        stack = Stack(endpoint, stripe_url)
        stack.read()
        step("the resources are what the template says")
        resources.are_as_in_the_template(stack)
        step("secrets are put in")
        checks.secrets_are_put_in(stack)
        with stripe(target / "debug" / "fake-stripe", stripe_port, stack.webhook_url, folder):
            try:
                walk(stack)
            finally:
                write_logs(stack, folder)


def walk(stack: Stack) -> None:
    """The main path, one line for each thing that held."""
    step("a person installs the app, and comes back with the same browser")
    checks.a_person_installs(stack)
    step("a caller with the stack's reader policy is served a key that works")
    reader = rights.caller(stack, "reader", policy=stack.outputs["KeyReaderPolicyArn"])
    first = checks.the_key_works(stack, reader, generation=1)
    checks.the_read_is_recorded(stack, "arn:aws:iam::000000000000:user/reader")
    step("unsigned, without the right, with a wrong signature: refused")
    rights.keys_are_behind_iam(stack, reader)
    step("forged webhooks change nothing")
    checks.forged_webhooks_change_nothing(stack)
    step("an event of Stripe comes over the stream and is applied")
    checks.an_event_comes_over_the_stream(stack)
    step("a rotation comes due, and the schedule carries it out")
    checks.a_rotation_comes_due(stack)
    second = checks.the_schedule_rotates(stack, reader, first)
    step("a key that its user ends in the Dashboard is served no more")
    checks.a_key_that_its_user_ends_is_served_no_more(stack, reader, second)
    step("every event that Stripe sent is done")
    checks.every_event_is_done(stack)
    step("no role reaches further than its function")
    rights.roles_reach_no_further(stack)
    step("everything is in its log group, nothing failed, nothing was set aside")
    checks.everything_is_in_its_log_group(stack)
    checks.failure_queues_are_empty(stack)
    step("no secret is in any row or log")
    checks.no_secret_is_anywhere(stack, [first["token"], second["token"]])


def step(what: str) -> None:
    print(f"-- {what}", flush=True)


def write_logs(stack: Stack, folder: Path) -> None:
    """Keeps what the functions wrote, for whoever looks why something failed."""
    for group in stack.log_groups():
        (folder / f"{group.strip('/').replace('/', '-')}.log").write_text("\n".join(stack.lines(group)))


if __name__ == "__main__":
    sys.exit(main())
