"""Counts the tables at a DynamoDB endpoint, and fails where no suite of the store can have run."""

import json
import sys
import urllib.request

# Fewer than the store's tests that need a table; a suite that went elsewhere leaves none.
AT_LEAST = 20


def tables(endpoint: str) -> list[str]:
    signed = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.ListTables",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": signed,
    }
    request = urllib.request.Request(endpoint, data=b"{}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["TableNames"]


found = [name for name in tables(sys.argv[1]) if name.startswith("keysteward-")]
print(f"   {len(found)} tables were made in it")
sys.exit(len(found) < AT_LEAST)
