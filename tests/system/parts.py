"""Programs that run beside the test, on loopback, and are ended with it."""

import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

REGION = "us-east-1"
# The emulator's root user. Every other caller that the test makes has rights of its own.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(endpoint: str, **more: str) -> dict[str, str]:
    """The environment of a program that speaks to the emulator and to nobody else."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    closed = {"AWS_EC2_METADATA_DISABLED": "true", "SAM_CLI_TELEMETRY": "0"}
    return inherited | CREDENTIALS | closed | {"AWS_ENDPOINT_URL": endpoint} | more


@contextmanager
def running(command: list[str], log: Path, env: dict[str, str], answers: str) -> Iterator[None]:
    """Runs a program until the block ends. It has started once `answers` answers anything at all."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=log.parent)
    try:
        await_answer(process, answers, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_answer(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{process.args[0]} does not run:\n{tail(log)}")


def emulator(venv: Path, port: int, folder: Path):
    """ministack with signatures checked and policies enforced (`AUTH`), its state in `folder`."""
    endpoint = f"http://127.0.0.1:{port}"
    env = environment(
        endpoint,
        AUTH="true",
        BIND_HOST="127.0.0.1",
        GATEWAY_PORT=str(port),
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        STATE_DIR=str(folder / "state"),
        S3_DATA_DIR=str(folder / "s3"),
        TMPDIR=str(folder),
    )
    command = [str(venv / "bin" / "ministack")]
    return running(command, folder / "emulator.log", env, f"{endpoint}/_ministack/health")


def stripe(program: Path, port: int, webhook: str, folder: Path):
    """fake-stripe, which sends its events to `webhook`."""
    command = [str(program), "--port", str(port), "--webhook", webhook]
    return running(command, folder / "stripe.log", dict(os.environ), f"http://127.0.0.1:{port}/dashboard")


def tail(log: Path, lines: int = 40) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
