"""The template as the emulator gets it: the one in the workspace, less what ministack 1.5.33 cannot carry out.

Every change is returned as a line, and printed by whoever deploys. What is taken out here is asserted on the
template itself by tests/tests/template.
"""

from pathlib import Path
from typing import Any, Iterator

from samcli.yamlhelper import yaml_parse

# Keys of a request that ministack does not know, so that no condition on one of them could ever hold.
UNKNOWN_CONDITION_KEYS = ("dynamodb:attributes", "dynamodb:leadingkeys", "dynamodb:returnvalues", "kms:")


def for_emulator(source: Path, build: Path) -> tuple[dict[str, Any], list[str]]:
    """The changed template, and what was changed."""
    template = yaml_parse(source.read_text())
    changes = []
    # The transform of ministack is given no parameters, and CodeDeploy is unknown to it.
    template["Parameters"]["Canary"]["Default"] = "false"
    changes.append("Canary is off by default: there is no CodeDeploy")
    # At AWS both are the secret's ARN; here `Ref` is its name, which no policy is about.
    for name in [name for name, found in template["Resources"].items() if found["Type"] == "AWS::SecretsManager::Secret"]:
        template = replaced(template, {"Ref": name}, {"Fn::GetAtt": [name, "Id"]})
        changes.append(f"{name}: GetAtt of its Id instead of Ref")
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            # As `sam build` writes it, but not relative to a file that is not in the build folder.
            resource["Properties"]["CodeUri"] = str(build / name)
        for statement in statements(resource):
            for key in drop_unknown(statement):
                changes.append(f"{name}, {statement['Sid']}: no condition on {key}")
    return template, changes


def replaced(node: Any, old: Any, new: Any) -> Any:
    """The node, with `new` wherever `old` was."""
    if node == old:
        return new
    if isinstance(node, dict):
        return {name: replaced(child, old, new) for name, child in node.items()}
    if isinstance(node, list):
        return [replaced(child, old, new) for child in node]
    return node


def statements(node: Any) -> Iterator[dict[str, Any]]:
    """Every statement of every policy below a node."""
    if isinstance(node, dict):
        if "Effect" in node and "Action" in node:
            yield node
        for child in node.values():
            yield from statements(child)
    elif isinstance(node, list):
        for child in node:
            yield from statements(child)


def drop_unknown(statement: dict[str, Any]) -> list[str]:
    """Takes the conditions out that cannot hold, and names their keys."""
    conditions = statement.get("Condition", {})
    dropped = []
    for operator in list(conditions):
        for key in list(conditions[operator]):
            if key.lower().startswith(UNKNOWN_CONDITION_KEYS):
                # Of a Deny it would leave one that always holds.
                assert statement["Effect"] == "Allow", statement
                del conditions[operator][key]
                dropped.append(key)
        if not conditions[operator]:
            del conditions[operator]
    if "Condition" in statement and not conditions:
        del statement["Condition"]
    return sorted(set(dropped))
