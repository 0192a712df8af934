"""The main path through the deployed bundle, in order. Each check is a sentence that held when it returns."""

import hashlib
import hmac
import html
import json
import re
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from botocore.credentials import Credentials

from stack import FUNCTIONS, STACK, Answer, Stack, check, eventually, request

ACCOUNT = "acct_1FakeDemo"
APP_SECRETS = {
    "api_key_live": "sk_live_fake_app",
    "api_key_test": "sk_test_fake_app",
    "app_signing_secrets": ["absec_fake_app"],
}
WEBHOOK_SECRET = "whsec_fake_stripe"
SLOT = "secret#default"


def secrets_are_put_in(stack: Stack) -> None:
    """As docs/deploy.md has a person do it: the stack makes the secrets without anything of Stripe's in them."""
    manager = stack.client("secretsmanager")
    name = stack.outputs["StripeSecretArn"]
    made = json.loads(manager.get_secret_value(SecretId=name)["SecretString"])
    check(len(made["state_key"]) == 64, "the stack makes a state key")
    manager.put_secret_value(SecretId=name, SecretString=json.dumps(made | APP_SECRETS))
    manager.put_secret_value(
        SecretId=stack.outputs["WebhookSecretArn"],
        SecretString=json.dumps({"signing_secrets": [WEBHOOK_SECRET]}),
    )


def a_person_installs(stack: Stack) -> None:
    """/install, the marketplace's page, its form, and back to /install/callback with the browser's cookie."""
    start = stack.http("GET", "/install?mode=test")
    check(start.status == 302, f"/install: {start}")
    link = start.headers["location"]
    cookie = start.headers["set-cookie"].split(";")[0]
    check(cookie.startswith("keysteward_install="), f"cookie: {cookie[:20]}")
    check(link.startswith(stack.stripe), f"/install leads to {link}")

    page = request("GET", link).body
    form = page[page.index("<form") : page.index("</form>")]
    fields = {name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)}
    check("state" in fields, "the state goes with the form")
    filled = urlencode(fields | {"account": ACCOUNT, "decision": "install"}).encode()
    back = request("POST", link, {"content-type": "application/x-www-form-urlencoded"}, filled)
    check(back.status in (302, 303), f"the marketplace: {back}")
    callback = urlsplit(back.headers["location"])
    check(f"{callback.scheme}://{callback.netloc}" == stack.endpoint, f"sent back to {callback.netloc}")

    path = f"{callback.path}?{callback.query}"
    stranger = stack.http("GET", path)
    check(stranger.status == 400, f"without the browser's cookie: {stranger.status}")
    done = stack.http("GET", path, {"Cookie": cookie})
    check(done.status == 200 and done.headers["content-type"].startswith("text/html"), f"callback: {done.status}")


def the_key_works(stack: Stack, signer: Credentials, generation: int) -> dict[str, Any]:
    """An IAM caller is served a key, and Stripe takes it."""
    answer = stack.key(ACCOUNT, signer)
    check(answer.status == 200, f"the key: {redacted(answer)}")
    key = answer.json()
    check(key["generation"] == generation and key["mode"] == "test", f"generation {key['generation']}")
    check(key["token"].startswith("sk_test_"), "a token of the mode")
    check(is_alive(stack, key["token"]), "Stripe takes the token")
    check(stack.key(ACCOUNT, signer, answer.headers["etag"]).status == 304, "what has not changed is not sent again")
    return key


def is_alive(stack: Stack, token: str) -> bool:
    """Whether Stripe knows the key: 401 is what it says to any other."""
    return request("GET", f"{stack.stripe}/v1/account", {"Authorization": f"Bearer {token}"}).status != 401


def redacted(answer: Answer) -> str:
    return f"{answer.status} {re.sub(r'(sk|rk)_(test|live)_[A-Za-z0-9]+', '<token>', answer.body)[:300]}"


def the_read_is_recorded(stack: Stack, caller: str) -> None:
    """Who read which key stands in the log of `keys`, with the caller that API Gateway saw."""
    read = [record for record in stack.records("keys") if record.get("outcome") == "served"]
    check(bool(read), "no access record")
    check({record["caller"] for record in read} == {caller}, f"callers: {[record['caller'] for record in read]}")
    check(read[-1]["account.id"] == ACCOUNT and read[-1]["slot"].startswith("test/secret/default#"), f"{read[-1]}")


def forged_webhooks_change_nothing(stack: Stack) -> None:
    """A wrong secret, an old time and no signature: one answer to all, and no row."""
    body = json.dumps(
        {
            "id": "evt_test_forged",
            "object": "v2.core.event",
            "type": "v2.iam.api_key.updated",
            "livemode": False,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
            "context": ACCOUNT,
        }
    ).encode()
    now = int(time.time())
    forged = [sign(body, "whsec_of_somebody", now), sign(body, WEBHOOK_SECRET, now - 3600), None]
    answers = [webhook(stack, body, signature) for signature in forged]
    check({answer.status for answer in answers} == {400}, f"{answers}")
    check({answer.json()["code"] for answer in answers} == {"bad_signature"}, f"{answers}")
    check("evt_test_forged" not in json.dumps(stack.rows()), "a forged event was stored")


def sign(body: bytes, secret: str, at: int) -> str:
    """The `Stripe-Signature` of a body."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


def webhook(stack: Stack, body: bytes, signature: str | None) -> Answer:
    headers = {"Content-Type": "application/json"} | ({"Stripe-Signature": signature} if signature else {})
    return stack.http("POST", "/webhooks/stripe", headers, body)


def events(stack: Stack) -> list[dict[str, Any]]:
    return [row for row in stack.rows() if row["sk"]["S"].startswith("EVENT#")]


def topic(row: dict[str, Any]) -> str:
    return row["topic"]["M"]["topic"]["S"]


def an_event_comes_over_the_stream(stack: Stack) -> None:
    """What fake-stripe signs and sends is stored, and marked as done before the sweep would look at it: it takes an
    event a minute after it came, and this one has less."""
    in_dashboard(stack, "activate")
    row = eventually(
        "the event of an activated account is applied by lifecycle",
        40,
        lambda: [row for row in events(stack) if topic(row) == "account_updated" and "done_at" in row],
    )[0]
    check("due_shard" not in row and "due_at" not in row, f"what is done is not due: {row}")
    runs = [line for line in stack.lines(f"/aws/lambda/{STACK}-lifecycle") if line.startswith("REPORT")]
    check(bool(runs), "lifecycle ran")


def a_key_that_its_user_ends_is_served_no_more(stack: Stack, signer: Credentials, key: dict[str, Any]) -> None:
    """From the Dashboard over webhook, stream and lifecycle to the next read, in less than the sweep's minute."""
    in_dashboard(stack, f"keys/{key['key_id']}/expire")
    answer = eventually(
        "the key is not served", 40, lambda: (found := stack.key(ACCOUNT, signer)).status == 409 and found
    )
    check(answer.json()["code"] == "revoked_by_user", redacted(answer))
    check(answer.headers["content-type"] == "application/problem+json", f"{answer.headers}")


def in_dashboard(stack: Stack, action: str) -> None:
    """What the account's user does at Stripe."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    done = request("POST", f"{stack.stripe}/dashboard/{ACCOUNT}/{action}", form, b"")
    check(done.status in (302, 303), f"{action}: {done}")


def every_event_is_done(stack: Stack) -> None:
    """Those too that came while the account was held by an installation, which the sweep takes."""
    eventually("no event is open", 150, lambda: all("done_at" in row for row in events(stack)))
    topics = {topic(row) for row in events(stack)}
    check({"authorized", "key_created", "key_rotated", "key_expired"} <= topics, f"{topics}")


def a_rotation_comes_due(stack: Stack) -> None:
    """What thirty days would bring: the key's date and the account's are moved to now, in the table."""
    now = {"N": str(int(time.time() * 1000))}
    head, key = stack.row("STATE#ACCOUNT"), stack.row(f"STATE#KEY#{SLOT}#0000000001")
    check(int(key["rotates_at"]["N"]) > int(now["N"]), "it was not due")
    for row, attribute in ((key, "rotates_at"), (head, "due_at")):
        stack.client("dynamodb").update_item(
            TableName=stack.outputs["TableName"],
            Key={"pk": row["pk"], "sk": row["sk"]},
            UpdateExpression="SET #attribute = :now",
            ConditionExpression="attribute_exists(#attribute)",
            ExpressionAttributeNames={"#attribute": attribute},
            ExpressionAttributeValues={":now": now},
        )


def the_schedule_rotates(stack: Stack, signer: Credentials, first: dict[str, Any]) -> dict[str, Any]:
    """Nobody invokes `rotate` but the scheduler, within two of its minutes. The first key lives on for the overlap."""
    eventually(
        "generation 2 is served", 150, lambda: stack.key(ACCOUNT, signer).json().get("generation") == 2
    )
    second = the_key_works(stack, signer, 2)
    check(second["token"] != first["token"] and second["key_id"] != first["key_id"], "another key")
    check(second["previous_valid_until"] is not None, "the overlap is told")
    check(is_alive(stack, first["token"]), "the first key works until the overlap is over")
    swept = [record for record in stack.records("rotate") if "SweepSettled" in record]
    check(any(record["SweepSettled"] >= 1 for record in swept), f"the sweep says so: {swept}")
    check(not any(record["SweepFailed"] for record in swept), f"and nothing failed: {swept}")
    return second


def everything_is_in_its_log_group(stack: Stack) -> None:
    """Each function wrote to the group that the template names, no line of level ERROR, no failed invocation."""
    for function in FUNCTIONS:
        group = f"/aws/lambda/{STACK}-{function}"
        lines = stack.lines(group)
        check(any(line.startswith("REPORT") for line in lines), f"{group} has no finished invocation")
        bad = [line for line in lines if '"level":"ERROR"' in line or "Task timed out" in line or "Runtime exited" in line]
        check(not bad, f"{group}: {bad[:3]}")
    unknown = [group for group in stack.log_groups() if group.startswith("/aws/lambda/")]
    check(set(unknown) == {f"/aws/lambda/{STACK}-{function}" for function in FUNCTIONS}, f"groups: {unknown}")


def failure_queues_are_empty(stack: Stack) -> None:
    """Nothing was set aside."""
    queues = stack.client("sqs")
    urls = [url for url in queues.list_queues().get("QueueUrls", []) if f"/{STACK}-" in url]
    check(len(urls) == 2, f"queues: {urls}")
    for url in urls:
        found = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        check(found["Attributes"]["ApproximateNumberOfMessages"] == "0", f"{url} holds something")


def no_secret_is_anywhere(stack: Stack, tokens: list[str]) -> None:
    """I6: no token and no secret of ours in any row or any line. What must be there shows that the search finds."""
    made = json.loads(
        stack.client("secretsmanager").get_secret_value(SecretId=stack.outputs["StripeSecretArn"])["SecretString"]
    )
    secrets = [*tokens, made["state_key"], made["api_key_test"], *made["app_signing_secrets"], WEBHOOK_SECRET]
    places = {f"row {row['sk']['S']}": json.dumps(row, default=str) for row in stack.rows()}
    places |= {f"log {group}": "\n".join(stack.lines(group)) for group in stack.log_groups()}
    for place, text in places.items():
        for secret in secrets:
            check(secret not in text, f"{place} holds a secret: {secret[:8]}…")
        check("PRIVATE KEY" not in text, f"{place} holds a private key")
    check(ACCOUNT in places["row STATE#ACCOUNT"], "the search finds what is in a row")
    check(ACCOUNT in places[f"log /aws/lambda/{STACK}-keys"], "the search finds what is in a log")
