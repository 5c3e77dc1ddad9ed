"""API hosts become paths of the emulator; nothing else changes."""

import pytest

from addresses import localise

ENDPOINT = "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("template", "here"),
    [
        ("wss://a1b2.execute-api.eu-west-1.amazonaws.com/v1", "ws://127.0.0.1:4566/_aws/execute-api/a1b2/v1"),
        ("https://a1b2.execute-api.eu-west-1.amazonaws.com/v1", "http://127.0.0.1:4566/_aws/execute-api/a1b2/v1"),
        ("http://a1b2.execute-api.localhost:4566", "http://127.0.0.1:4566/_aws/execute-api/a1b2"),
        ("rediss://127.0.0.1:6379", "rediss://127.0.0.1:6379"),
        ("arn:aws:execute-api:us-east-1:1:a1b2/v1", "arn:aws:execute-api:us-east-1:1:a1b2/v1"),
    ],
)
def test_localise(template, here):
    assert localise(template, ENDPOINT) == here
