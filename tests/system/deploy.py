"""`sam build` and `sam deploy`, the real ones."""

import json
import subprocess
import sys
from pathlib import Path

from parts import REGION, environment, tail
from template import for_emulator

STACK = "keysteward"
# The only role that may end the keys. It need not exist.
KEY_ADMINISTRATOR = "arn:aws:iam::000000000000:role/key-administrator"


def sam() -> str:
    """The program that is installed beside the interpreter of this test."""
    return str(Path(sys.executable).parent / "sam")


def build(template: Path, folder: Path) -> None:
    """Builds the five functions for this machine's processor."""
    command = [sam(), "build", "--template-file", str(template), "--build-dir", str(folder)]
    command += ["--parameter-overrides", "Architecture=x86_64"]
    subprocess.run(command, check=True, env=environment("http://127.0.0.1:1"), cwd=template.parent)


def deploy(source: Path, build_folder: Path, folder: Path, endpoint: str, parameters: dict[str, str]) -> None:
    """Deploys what was built. Prints what is not as in the template."""
    template, changes = for_emulator(source, build_folder)
    for change in changes:
        print(f"   template: {change}")
    copy = folder / "template.json"
    copy.write_text(json.dumps(template, indent=1, default=str))
    command = [sam(), "deploy", "--template-file", str(copy), "--stack-name", STACK, "--region", REGION]
    command += ["--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"]
    command += ["--parameter-overrides"] + [f"{name}={value}" for name, value in parameters.items()]
    log = folder / "deploy.log"
    with log.open("wb") as output:
        ended = subprocess.run(
            command, stdout=output, stderr=output, env=environment(endpoint), cwd=folder, timeout=300
        )
    if ended.returncode != 0:
        raise RuntimeError(f"sam deploy failed:\n{tail(log, 60)}")
