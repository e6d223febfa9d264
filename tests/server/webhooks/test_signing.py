from __future__ import annotations

import base64

from spacelink_server.webhooks.signing import secret_text, signed_headers

# The example in the tests of Standard Webhooks' own libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_signs_as_standard_webhooks_does() -> None:
    assert signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY, [KEY]) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_several_secrets_make_several_signatures() -> None:
    signed = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY, [b"k" * 32, KEY])
    other, ours = signed["webhook-signature"].split(" ")
    assert (ours, other[:3]) == (SIGNATURE, "v1,")
    assert other != ours


def test_secrets_are_written_as_standard_webhooks_has_them() -> None:
    assert secret_text(KEY) == SECRET
