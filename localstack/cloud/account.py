"""What the account's owner does by hand on AWS: users with just the rights they need, and the first API key."""

import json
import subprocess
from pathlib import Path

import botocore.client

from cloud.emulator import ACCOUNT, ROOT, Credentials, client
from cloud.place import Place
from cloud.processes import Failed

# What CDK asks of whoever deploys: to take the roles that `cdk bootstrap` made.
_DEPLOYER = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": f"arn:aws:iam::{ACCOUNT}:role/cdk-*"}


def deployer(place: Place) -> Credentials:
    """A user who may deploy and nothing else."""
    _let_assets_be_published(place)
    return user(place, "deployer", {"deploy": {"Version": "2012-10-17", "Statement": [_DEPLOYER]}})


def _let_assets_be_published(place: Place) -> None:
    """The emulator evaluates two documents of `cdk bootstrap` otherwise than AWS, and would refuse the upload of assets.

    It takes the bucket's policy, a mere denial of plain HTTP, to concern its own plain HTTP, and does not match the role's.
    """
    iam, bucket = client(place, "iam"), f"cdk-hnb659fds-assets-{ACCOUNT}-us-east-1"
    role = f"cdk-hnb659fds-file-publishing-role-{ACCOUNT}-us-east-1"
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_role_policy(RoleName=role, PolicyName="emulator", PolicyDocument=document)
    client(place, "s3").delete_bucket_policy(Bucket=bucket)


def user(place: Place, name: str, policies: dict[str, dict]) -> Credentials:
    """A user with exactly these policies, and an access key, made once."""
    kept = place.directory("users") / name
    iam = client(place, "iam")
    if not kept.exists() or not _exists(iam, name):
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        kept.write_text(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
    for policy, document in policies.items():
        iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    return Credentials(*json.loads(kept.read_text()))


def _exists(iam: botocore.client.BaseClient, name: str) -> bool:
    return any(user["UserName"] == name for user in iam.list_users()["Users"])


def like_role(place: Place, role_arn: str, name: str) -> Credentials:
    """A user with the policies of a role. The role itself can be taken by a service of AWS only, which here has no part in it."""
    iam, role = client(place, "iam"), role_arn.rpartition("/")[2]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = {name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names}
    return user(place, name, documents)


def api_key(place: Place, bond: Path, secret: str) -> str:
    """An API key of the owner `local`, made once by `bond key`, whose hash is in `secret`."""
    directory = place.directory("keys")
    kept = directory / "key"
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(_new_key(bond, directory))
    secrets = client(place, "secretsmanager", ROOT)
    hashes = (directory / "keys.json").read_text()
    if secrets.get_secret_value(SecretId=secret)["SecretString"] != hashes:
        secrets.put_secret_value(SecretId=secret, SecretString=hashes)
    return kept.read_text()


def _new_key(bond: Path, directory: Path) -> str:
    command = [str(bond), "key", "--data-dir", str(directory), "new", "--owner", "local"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        raise Failed(f"`bond key` failed: {made.stderr}")
    return made.stdout.strip()
