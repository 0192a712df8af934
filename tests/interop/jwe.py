"""JWE by jwcrypto: a JSON object on stdin, its result as JSON on stdout."""

import json
import os
import sys

from jwcrypto import jwe, jwk

# RSA1_5 is off unless asked for.
ALGORITHMS = jwe.default_allowed_algs + ["RSA1_5"]


def seal(job):
    """Seals each job's token under the header that it asks for."""
    public = jwk.JWK.from_pem(job["public_pem"].encode())
    sealed = []
    for header in job["headers"]:
        key = public
        if header["alg"] == "dir":
            key = jwk.JWK(kty="oct", k=jwk.base64url_encode(os.urandom(32)))
        token = jwe.JWE(
            job["token"].encode(), recipient=key, protected=json.dumps(header), algs=ALGORITHMS
        )
        sealed.append(token.serialize(compact=True))
    return sealed


def open_(job):
    """Opens each ciphertext, and shows its header."""
    private = jwk.JWK.from_pem(job["private_pem"].encode())
    opened = []
    for compact in job["sealed"]:
        token = jwe.JWE()
        token.deserialize(compact, private)
        opened.append({"token": token.payload.decode(), "header": token.jose_header})
    return opened


if __name__ == "__main__":
    job = json.load(sys.stdin)
    json.dump({"seal": seal, "open": open_}[job["command"]](job), sys.stdout)
