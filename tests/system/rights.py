"""Who may do what, as the emulator enforces it: the action and the resource, by the policies that were deployed."""

import json
from typing import Any, Callable

from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from checks import ACCOUNT
from deploy import STACK
from stack import Stack, check


def caller(stack: Stack, name: str, policy: str | None = None, inline: dict[str, Any] | None = None) -> Credentials:
    """A user of the account with one policy, or none, and its access key."""
    iam = stack.client("iam")
    iam.create_user(UserName=name)
    if policy:
        iam.attach_user_policy(UserName=name, PolicyArn=policy)
    if inline:
        iam.put_user_policy(UserName=name, PolicyName="copied", PolicyDocument=json.dumps(inline))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def keys_are_behind_iam(stack: Stack, reader: Credentials) -> None:
    """Unsigned, signed by somebody without the right, and signed with a wrong secret: refused by API Gateway."""
    stranger = caller(stack, "stranger")
    liar = Credentials(reader.access_key, "not-the-secret")
    for who, signer in (("nobody", None), ("a stranger", stranger), ("a liar", liar)):
        answer = stack.key(ACCOUNT, signer)
        check(answer.status == 403 and "token" not in answer.json(), f"{who} was not refused: {answer.status}")


def roles_reach_no_further(stack: Stack) -> None:
    """What each function's role has to be refused, tried by a user with that role's policy and no other."""
    table, rows = stack.outputs["TableName"], stack.rows()
    head = next(row for row in rows if row["sk"]["S"] == "STATE#ACCOUNT")
    key = {"pk": head["pk"], "sk": head["sk"]}
    event = {"pk": head["pk"], "sk": {"S": "EVENT#probe"}}
    vault = stack.outputs["VaultKeyArn"]
    query = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": head["pk"]},
    }
    due = {
        "TableName": table,
        "IndexName": "due",
        "KeyConditionExpression": "due_shard = :shard",
        "ExpressionAttributeValues": {":shard": {"N": "0"}},
    }
    blob = stack.client("kms").encrypt(KeyId=vault, Plaintext=b"probe")["CiphertextBlob"]
    calls: dict[str, Callable[[Credentials], Any]] = {
        "read the table": lambda who: stack.client("dynamodb", who).query(**query),
        "read the due index": lambda who: stack.client("dynamodb", who).query(**due),
        "scan": lambda who: stack.client("dynamodb", who).scan(TableName=table),
        "put": lambda who: stack.client("dynamodb", who).put_item(TableName=table, Item=event),
        "update": lambda who: stack.client("dynamodb", who).update_item(
            TableName=table, Key=event, UpdateExpression="SET probe = :p", ExpressionAttributeValues={":p": {"N": "1"}}
        ),
        "get": lambda who: stack.client("dynamodb", who).get_item(TableName=table, Key=key),
        "delete": lambda who: stack.client("dynamodb", who).delete_item(TableName=table, Key=event),
        "drop the table": lambda who: stack.client("dynamodb", who).delete_table(TableName="another"),
        "unwrap": lambda who: stack.client("kms", who).decrypt(KeyId=vault, CiphertextBlob=blob),
        "wrap": lambda who: stack.client("kms", who).encrypt(KeyId=vault, Plaintext=b"probe"),
        "end the key": lambda who: stack.client("kms", who).schedule_key_deletion(KeyId=vault),
        "read the app's secret": lambda who: secret(stack, who, "StripeSecretArn"),
        "read the webhook's secret": lambda who: secret(stack, who, "WebhookSecretArn"),
    }
    for function, allowed in ALLOWED.items():
        who = caller(stack, f"as-{function}", inline=role_policy(stack, function))
        for name, call in calls.items():
            refused = is_refused(call, who)
            check(refused != (name in allowed), f"{function}: {name} is {'refused' if refused else 'allowed'}")
    stack.client("dynamodb").delete_item(TableName=table, Key=event)


# By function, what of the calls above its work needs. Everything else has to be refused.
ALLOWED = {
    "install": {"read the table", "get", "put", "delete", "unwrap", "wrap", "read the app's secret"},
    "webhook": {"put", "read the webhook's secret"},
    "lifecycle": {"read the table", "put", "update", "get", "delete", "unwrap", "wrap", "read the app's secret"},
    "rotate": {
        "read the table", "read the due index", "put", "update", "get", "delete", "unwrap", "wrap",
        "read the app's secret",
    },
    "keys": {"read the table", "unwrap"},
}


def secret(stack: Stack, who: Credentials, output: str) -> Any:
    return stack.client("secretsmanager", who).get_secret_value(SecretId=stack.outputs[output])


def role_policy(stack: Stack, function: str) -> dict[str, Any]:
    """The one policy of the role that the deployed function runs under."""
    iam = stack.client("iam")
    arn = stack.client("lambda").get_function_configuration(FunctionName=f"{STACK}-{function}")["Role"]
    role = arn.split("/")[-1]
    [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    check(not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"], f"{role} has one policy alone")
    return iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]


def is_refused(call: Callable[[Credentials], Any], who: Credentials) -> bool:
    """Whether IAM refuses a call. Any other failure is one of the test."""
    try:
        call(who)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException"):
            return True
        raise
    return False
