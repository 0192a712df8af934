"""The deployed stack: its services, its HTTP API, its rows and its logs."""

import http.client
import json
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator
from urllib.parse import urlencode, urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from deploy import STACK
from parts import CREDENTIALS, REGION

FUNCTIONS = ("install", "webhook", "lifecycle", "rotate", "keys")


class Missing(AssertionError):
    """Something that has to be there is not."""


def check(holds: bool, what: str) -> None:
    """Ends the test where something does not hold."""
    if not holds:
        raise Missing(what)


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said. Header names in lower case."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
    """One request to loopback. Follows no redirect; `Host` is the caller's to set."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=60)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read().decode())
    finally:
        connection.close()


@dataclass
class Stack:
    """A stack, and the fake Stripe that it speaks to."""

    endpoint: str
    stripe: str
    outputs: dict[str, str] = field(default_factory=dict)
    api: str = ""

    def read(self) -> None:
        """Takes over what the deployment says of itself."""
        [found] = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}
        [api] = [api for api in self.client("apigatewayv2").get_apis()["Items"] if api["Name"] == STACK]
        self.api = api["ApiId"]

    def client(self, service: str, credentials: Credentials | None = None) -> Any:
        """A client of the emulator, as root or as somebody."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=credentials.access_key if credentials else CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials.secret_key if credentials else CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    @property
    def webhook_url(self) -> str:
        """The webhook's address for a client that cannot choose its `Host` header."""
        return f"{self.endpoint}/_aws/execute-api/{self.api}/$default/webhooks/stripe"

    def http(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        signer: Credentials | None = None,
    ) -> Answer:
        """A request through API Gateway, signed with SigV4 if somebody signs it."""
        host = f"{self.api}.execute-api.localhost:{urlsplit(self.endpoint).port}"
        sent = AWSRequest(method, f"http://{host}{path}", data=body, headers=headers or {})
        sent.headers["Host"] = host
        if signer:
            SigV4Auth(signer, "execute-api", REGION).add_auth(sent)
        return request(method, self.endpoint + path, dict(sent.headers.items()), body)

    def key(self, account: str, signer: Credentials | None, etag: str | None = None) -> Answer:
        """Asks for an account's key in test mode."""
        path = f"/v1/accounts/{account}/keys/default?{urlencode({'mode': 'test'})}"
        return self.http("GET", path, {"If-None-Match": etag} if etag else {}, signer=signer)

    def rows(self) -> list[dict[str, Any]]:
        """Every row of the table, in DynamoDB's JSON."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=self.outputs["TableName"])
        return [row for page in pages for row in page["Items"]]

    def row(self, sort_key: str) -> dict[str, Any]:
        """The one row with this sort key."""
        [row] = [row for row in self.rows() if row["sk"]["S"] == sort_key]
        return row

    def log_groups(self) -> list[str]:
        """Every log group there is."""
        pages = self.client("logs").get_paginator("describe_log_groups").paginate()
        return [group["logGroupName"] for page in pages for group in page["logGroups"]]

    def lines(self, group: str) -> list[str]:
        """Everything in a log group."""
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]

    def records(self, function: str) -> Iterator[dict[str, Any]]:
        """The JSON lines that a function wrote itself."""
        for line in self.lines(f"/aws/lambda/{STACK}-{function}"):
            if line.startswith("{"):
                yield json.loads(line)


def eventually(what: str, seconds: int, look: Callable[[], Any]) -> Any:
    """Looks until there is something to see, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        check(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        time.sleep(1)
