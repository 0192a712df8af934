"""One command of Stripe's own Python package: a JSON object on stdin, its result as JSON on stdout."""

import json
import sys

import stripe
from stripe import SignatureVerificationError, StripeClient, Webhook, WebhookSignature


def sign(job):
    """Signs an event that Python wrote down, as Stripe would."""
    body = json.dumps(job["event"], indent=job.get("indent"), ensure_ascii=False)
    header = WebhookSignature.generate_signature_header(body, job["secret"], job["at"])
    return {"body": body, "header": header}


def verify(job):
    """What the package makes of a webhook that was signed elsewhere."""
    client = StripeClient("sk_test_fake_app")
    read = client.parse_event_notification if job["thin"] else client.construct_event
    try:
        event = read(job["body"].encode(), job["header"], job["secret"])
    except SignatureVerificationError as error:
        return {"refused": error.user_message}
    return {"class": type(event).__name__, "id": event.id, "type": event.type}


def install_text(claim):
    """The text under an install_signature: state, user_id, account_id, in that order, compact."""
    fields = {name: claim[name] for name in ("state", "user_id", "account_id")}
    return json.dumps(fields, separators=(",", ":"))


def sign_install(job):
    header = WebhookSignature.generate_signature_header(
        install_text(job["claim"]), job["secret"], job["at"]
    )
    return {"header": header}


def verify_install(job):
    try:
        # Tolerance None: the worlds of the tests have their own clock.
        WebhookSignature.verify_header(
            install_text(job["claim"]), job["header"], job["secret"], None
        )
    except SignatureVerificationError as error:
        return {"refused": error.user_message}
    return {}


def client_of(job):
    return StripeClient(
        job["key"], stripe_context=job["account"], base_addresses={"api": job["base"]}
    )


def refusal(call, *arguments):
    """The code and the status of the error that a call must end in."""
    try:
        call(*arguments)
    except stripe.StripeError as error:
        return {"code": error.code, "status": error.http_status}
    raise AssertionError(f"{call.__name__}{arguments} was not refused")


def keys(job):
    """Every operation of client.v2.iam.api_keys."""
    api = client_of(job).v2.iam.api_keys
    public_key = {"id": job["kid"], "pem_key": {"algorithm": "RSA", "data": job["pem"]}}
    created = api.create(
        {
            "type": "secret_key",
            "name": "made by Python",
            "note": "first",
            "permissions": ["customer_read"],
            "public_key": public_key,
        },
        {"idempotency_key": "interop-create-" + job["kid"]},
    )
    publishable = api.create({"type": "publishable_key", "name": "made by Python too"})
    listed = [key.id for key in api.list({"limit": 1}).auto_paging_iter()]
    retrieved = api.retrieve(created.id)
    updated = api.update(
        created.id, {"note": "second", "permissions": ["customer_read", "charge_read"]}
    )
    rotated = api.rotate(
        created.id, {"expire_current_key_in_minutes": 60, "public_key": public_key}
    )
    already_rotated = refusal(api.rotate, created.id, {"public_key": public_key})
    expired = api.expire(rotated.id)
    already_expired = refusal(api.expire, rotated.id)
    return {
        "created": created.to_dict(),
        "publishable": publishable.to_dict(),
        "listed": listed,
        "retrieved": retrieved.to_dict(),
        "updated": updated.to_dict(),
        "rotated": rotated.to_dict(),
        "expired": expired.to_dict(),
        "active": [key.id for key in api.list()],
        "all": [key.id for key in api.list({"include_expired": True})],
        "already_rotated": already_rotated,
        "already_expired": already_expired,
        "unknown": refusal(api.retrieve, "mk_1Nobody"),
        "classes": sorted({type(key).__name__ for key in (created, retrieved, rotated)}),
    }


def change(job):
    """One change to a key that somebody else made, found by listing."""
    api = client_of(job).v2.iam.api_keys
    (key,) = [key for key in api.list() if key.type == "secret_key"]
    if job["change"] == "expire":
        return {"id": api.expire(key.id).id}
    public_key = {"id": job["kid"], "pem_key": {"algorithm": "RSA", "data": job["pem"]}}
    params = {"expire_current_key_in_minutes": 60, "public_key": public_key}
    return {"id": api.rotate(key.id, params).id, "old": key.id, "name": key.name}


def notifications(job):
    """Parses signed deliveries and fetches the events that they announce."""
    client = client_of(job)
    read = []
    for delivery in job["deliveries"]:
        notification = client.parse_event_notification(
            delivery["body"].encode(), delivery["header"], job["secret"]
        )
        entry = {
            "class": type(notification).__name__,
            "type": notification.type,
            "context": str(notification.context),
            "livemode": notification.livemode,
        }
        if delivery["fetch"]:
            event = notification.fetch_event()
            entry["event"] = {
                "class": type(event).__name__,
                "id": event.id,
                "same_id": event.id == notification.id,
                "data": event.data.to_dict(),
                "changes": event.to_dict().get("changes"),
            }
        read.append(entry)
    return read


COMMANDS = {
    command.__name__: command
    for command in (sign, verify, sign_install, verify_install, keys, change, notifications)
}

if __name__ == "__main__":
    job = json.load(sys.stdin)
    json.dump(COMMANDS[job["command"]](job), sys.stdout)
