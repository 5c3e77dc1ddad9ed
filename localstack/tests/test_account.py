"""Where the emulator enforces IAM, each user may do what its policies say and nothing else."""

import json

import pytest
from botocore.exceptions import ClientError

from cloud import account, emulator, processes
from cloud.place import Place

TABLE = {
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
ITEM = {"pk": {"S": "a"}}


@pytest.fixture(scope="module")
def strict(tmp_path_factory) -> Place:
    """An emulator that enforces IAM, with two tables and a role that may put items into one of them."""
    place = Place(tmp_path_factory.mktemp("strict"))
    place.make()
    emulator.start(place, None, enforce_iam=True, trusted="/dev/null")
    tables = emulator.client(place, "dynamodb")
    arns = [tables.create_table(TableName=name, **TABLE)["TableDescription"]["TableArn"] for name in ("ours", "others")]
    allow = {"Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": arns[0]}
    iam = emulator.client(place, "iam")
    iam.create_role(RoleName="task", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_role_policy(RoleName="task", PolicyName="tables", PolicyDocument=document)
    yield place
    processes.stop(place, "emulator")


def test_a_user_like_a_role_may_do_what_the_role_may(strict):
    who = account.like_role(strict, f"arn:aws:iam::{emulator.ACCOUNT}:role/task", "ingest")
    tables = emulator.client(strict, "dynamodb", who)
    tables.put_item(TableName="ours", Item=ITEM)
    with pytest.raises(ClientError, match="AccessDenied"):
        tables.put_item(TableName="others", Item=ITEM)
    with pytest.raises(ClientError, match="AccessDenied"):
        tables.get_item(TableName="ours", Key=ITEM)


def test_a_user_is_made_once(strict):
    assert account.user(strict, "once", {}) == account.user(strict, "once", {})
