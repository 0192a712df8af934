"""What CloudFormation is given: template.yaml after SAM's transform, checked for what no emulator carries out.

tests/tests/template compares the template with the code; this looks at what the transform makes of it. Offline.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse

FUNCTIONS = ("Install", "Webhook", "Lifecycle", "Rotate", "Keys")
# The metrics that AWS publishes and an alarm here watches, with the dimensions that they come with.
PUBLISHED = {
    ("AWS/Lambda", "Errors"): [{"FunctionName"}],
    ("AWS/Lambda", "Throttles"): [{"FunctionName"}],
    ("AWS/Lambda", "Invocations"): [{"FunctionName"}],
    ("AWS/Lambda", "Duration"): [{"FunctionName"}],
    ("AWS/Lambda", "IteratorAge"): [{"FunctionName", "Resource"}],
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): [{"QueueName"}],
    ("AWS/ApiGateway", "5xx"): [{"ApiId"}],
    ("AWS/DynamoDB", "ReadThrottleEvents"): [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}],
    ("AWS/DynamoDB", "WriteThrottleEvents"): [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}],
}


class Wrong(AssertionError):
    """Something is not as it has to be."""


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def translate(path: Path) -> dict[str, Any]:
    """The resources after the transform, with every parameter at its default."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    # It warns of feature flags that only AWS's own service has.
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    template = yaml_parse(path.read_text())
    # `sam package` puts an address there.
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    return Translator({}, Parser()).translate(template, {})["Resources"]


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: resource for name, resource in resources.items() if resource["Type"] == kind}


def properties(resources: dict[str, Any], name: str) -> dict[str, Any]:
    return resources[name]["Properties"]


def listed(node: Any) -> list[Any]:
    return node if isinstance(node, list) else [node]


def functions_run_under_their_own_roles(resources: dict[str, Any]) -> None:
    """One role a function, made by hand: the transform adds none, and attaches no policy of AWS's to them."""
    found = of_type(resources, "AWS::Lambda::Function")
    check(set(found) == {f"{name}Function" for name in FUNCTIONS}, f"functions: {list(found)}")
    roles = of_type(resources, "AWS::IAM::Role")
    made = {"ScheduleRole", "CodeDeployServiceRole", *(f"{name}Role" for name in FUNCTIONS)}
    check(set(roles) == made, f"roles: {set(roles) ^ made}")
    for name in FUNCTIONS:
        function = properties(resources, f"{name}Function")
        check(function["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}, f"{name}: {function['Role']}")
        check(function["TracingConfig"] == {"Mode": "Active"}, f"{name} is traced")
        check(function["LoggingConfig"]["LogGroup"] == {"Ref": f"{name}Log"}, f"{name} logs into its group")
        check("ManagedPolicyArns" not in properties(resources, f"{name}Role"), f"{name}Role has its own policy alone")
    check(properties(resources, "RotateFunction")["ReservedConcurrentExecutions"] == 1, "one sweep at a time")


def new_versions_are_tried_first(resources: dict[str, Any]) -> None:
    """Each alias is moved by CodeDeploy, which an alarm takes back; what calls a function calls the alias."""
    for name in FUNCTIONS:
        alias = resources[f"{name}FunctionAliaslive"]
        update = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        group = properties(resources, update["DeploymentGroupName"]["Ref"])
        alarms = group["AlarmConfiguration"]
        check(alarms["Enabled"], f"{name}: its alarms are on")
        watched = [alarm["Name"]["Ref"] for alarm in alarms["Alarms"]]
        check(f"{name}Errors" in watched, f"{name} is taken back by {watched}")
        check(all(resources[alarm]["Type"] == "AWS::CloudWatch::Alarm" for alarm in watched), f"{watched}")
        events = group["AutoRollbackConfiguration"]["Events"]
        check("DEPLOYMENT_STOP_ON_ALARM" in events, f"{name}: {events}")
        kind = group["DeploymentConfigName"]
        check("CanaryType" in str(kind) or "Canary10Percent" in str(kind), f"{name}: {kind}")
    aliases = {f"{name}FunctionAliaslive" for name in FUNCTIONS}
    for name, resource in of_type(resources, "AWS::ApiGatewayV2::Integration").items():
        check(resource["Properties"]["IntegrationUri"]["Ref"] in aliases, f"{name} calls the alias")
    for name, resource in of_type(resources, "AWS::Lambda::Permission").items():
        check(resource["Properties"]["FunctionName"]["Ref"] in aliases, f"{name} is for the alias")
        check("SourceArn" in resource["Properties"], f"{name} says who may call")
    check(properties(resources, "Schedule")["Target"]["Arn"]["Ref"] in aliases, "the schedule calls the alias")


def the_stream_goes_to_lifecycle(resources: dict[str, Any]) -> None:
    [mapping] = of_type(resources, "AWS::Lambda::EventSourceMapping").values()
    mapping = mapping["Properties"]
    check(mapping["FunctionName"] == {"Ref": "LifecycleFunctionAliaslive"}, f"{mapping['FunctionName']}")
    check(mapping["EventSourceArn"] == {"Fn::GetAtt": ["Table", "StreamArn"]}, f"{mapping['EventSourceArn']}")
    check(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], "one bad event does not fail its batch")
    check(mapping["BisectBatchOnFunctionError"] is True, "a failing batch is cut in two")
    check(0 < mapping["MaximumRetryAttempts"] <= 10, "retries are bounded")
    failures = mapping["DestinationConfig"]["OnFailure"]["Destination"]
    check(failures == {"Fn::GetAtt": ["StreamFailures", "Arn"]}, f"{failures}")


def data_is_encrypted_kept_and_forgotten(resources: dict[str, Any]) -> None:
    """The table and the secrets: SSE, TTL, recovery, protection, and that a deleted stack leaves them."""
    table = properties(resources, "Table")
    check(table["SSESpecification"]["SSEEnabled"] and table["SSESpecification"]["SSEType"] == "KMS", "SSE")
    check(table["SSESpecification"]["KMSMasterKeyId"] == {"Fn::GetAtt": ["DataKey", "Arn"]}, "under our key")
    check(table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}, "TTL")
    check(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True, "PITR")
    check(table["DeletionProtectionEnabled"] is True, "deletion protection")
    for kind in ("AWS::DynamoDB::Table", "AWS::SecretsManager::Secret", "AWS::KMS::Key"):
        found = of_type(resources, kind)
        check(bool(found), f"there is no {kind}")
        for name, resource in found.items():
            check(resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain", f"{name} is kept")
    for name, secret in of_type(resources, "AWS::SecretsManager::Secret").items():
        check(secret["Properties"]["KmsKeyId"] == {"Fn::GetAtt": ["DataKey", "Arn"]}, f"{name}: under our key")
    for name, group in of_type(resources, "AWS::Logs::LogGroup").items():
        check("RetentionInDays" in group["Properties"], f"{name} is forgotten some day")
        check(group["Properties"]["KmsKeyId"] == {"Fn::GetAtt": ["DataKey", "Arn"]}, f"{name}: under our key")
    topic = properties(resources, "AlarmTopic")
    check("KmsMasterKeyId" in topic, "the alarm topic is encrypted")


def keys_are_used_as_meant_and_ended_by_one_role(resources: dict[str, Any]) -> None:
    """The key policies: who may use a key is bound by a condition, and ending it is denied to all but one."""
    for name, key in of_type(resources, "AWS::KMS::Key").items():
        key = key["Properties"]
        check(key["EnableKeyRotation"] is True, f"{name} is rotated")
        statements = key["KeyPolicy"]["Statement"]
        denied = [
            statement
            for statement in statements
            if statement["Effect"] == "Deny" and "kms:ScheduleKeyDeletion" in listed(statement["Action"])
        ]
        check(len(denied) == 1 and denied[0]["Principal"] == {"AWS": "*"}, f"{name}: {denied}")
        condition = {"ArnNotEquals": {"aws:PrincipalArn": {"Ref": "KeyAdminRoleArn"}}}
        check(denied[0]["Condition"] == condition, f"{name}: {denied[0]['Condition']}")
        for statement in statements:
            actions = listed(statement["Action"])
            uses = {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:CreateGrant"} & set(actions)
            # CloudWatch sends no context with an alarm to an encrypted topic.
            bound = "Condition" in statement or statement["Sid"] == "UsedByAlarms"
            check(not uses or statement["Effect"] == "Deny" or bound, f"{name}, {statement['Sid']}: used by anybody")
            check(not any("*" in action for action in actions), f"{name}, {statement['Sid']}: a pattern")


def alarms_watch_metrics_that_exist(resources: dict[str, Any]) -> None:
    """A metric of AWS with the dimensions that it is published with, or one of the functions' own, by stack.

    That the functions write those is seen by tests/tests/template/alarms.rs."""
    for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
        alarm = alarm["Properties"]
        check(bool(alarm["AlarmActions"]), f"{name} rings nowhere")
        namespace, metric = alarm["Namespace"], alarm["MetricName"]
        dimensions = {dimension["Name"] for dimension in alarm.get("Dimensions", [])}
        if namespace == "Keysteward":
            check(dimensions == {"Stack"}, f"{name}: {metric} {dimensions}")
            continue
        check(dimensions in PUBLISHED.get((namespace, metric), []), f"{name}: {namespace} {metric} {dimensions}")
        for dimension in alarm.get("Dimensions", []):
            target = dimension["Value"]
            referred = target.get("Ref") or (target.get("Fn::GetAtt") or [""])[0]
            check("Fn::Sub" in target or referred in resources, f"{name} watches {target}")


CHECKS = (
    functions_run_under_their_own_roles,
    new_versions_are_tried_first,
    the_stream_goes_to_lifecycle,
    data_is_encrypted_kept_and_forgotten,
    keys_are_used_as_meant_and_ended_by_one_role,
    alarms_watch_metrics_that_exist,
)


if __name__ == "__main__":
    translated = translate(Path(sys.argv[1]))
    for each in CHECKS:
        each(translated)
    print(f"the translated template holds {len(translated)} resources; {len(CHECKS)} checks of them passed")
