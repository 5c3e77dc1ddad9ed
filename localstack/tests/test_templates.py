"""What a template asks for is there once it is deployed, as on AWS."""

import io
import json
import uuid
import zipfile

import pytest
from websocket import WebSocket

from addresses import localise
from cloud import emulator
from missing_types import TYPES

# A function as Bond's are: a program that speaks the Runtime API.
ECHO = """#!/usr/bin/env python3
import json, os
from urllib.request import Request, urlopen

runtime = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
answer = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "bond.v1"}, "body": json.dumps({"url": os.environ["URL"]})}
while True:
    with urlopen(f"{runtime}/next") as event:
        request = event.headers["Lambda-Runtime-Aws-Request-Id"]
        refused = (json.load(event).get("queryStringParameters") or {}).get("token") == "bad"
    answer["statusCode"] = 401 if refused else 200
    urlopen(Request(f"{runtime}/{request}/response", json.dumps(answer).encode()))
"""


@pytest.fixture
def deploy(cloud):
    """Deploys resources as a stack and gives its outputs; deploys anew over it when called again."""
    formation = emulator.client(cloud, "cloudformation")
    stack = f"test-{uuid.uuid4().hex[:8]}"
    made = []

    def deploy(resources: dict, outputs: dict | None = None) -> dict[str, str]:
        template = json.dumps({"Resources": resources, "Outputs": {k: {"Value": v} for k, v in (outputs or {}).items()}})
        change = formation.update_stack if made else formation.create_stack
        change(StackName=stack, TemplateBody=template)
        formation.get_waiter("stack_update_complete" if made else "stack_create_complete").wait(
            StackName=stack, WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}
        )
        made.append(stack)
        described = formation.describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}

    yield deploy
    formation.delete_stack(StackName=stack)


def attribute(resource: str, name: str) -> dict:
    return {"Fn::GetAtt": [resource, name]}


def test_rules_between_groups_are_those_of_the_groups(cloud, deploy):
    group = {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "test"}}
    rule = {"IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379}
    ingress = {**rule, "GroupId": attribute("Cache", "GroupId"), "SourceSecurityGroupId": attribute("Functions", "GroupId")}
    egress = {**rule, "GroupId": attribute("Functions", "GroupId"), "DestinationSecurityGroupId": attribute("Cache", "GroupId")}
    resources = {"Cache": group, "Functions": group}
    rules = {
        "In": {"Type": "AWS::EC2::SecurityGroupIngress", "Properties": ingress},
        "Out": {"Type": "AWS::EC2::SecurityGroupEgress", "Properties": egress},
    }
    ids = {"Cache": attribute("Cache", "GroupId"), "Functions": attribute("Functions", "GroupId")}
    made = deploy({**resources, **rules}, ids)

    def group_of(name: str) -> dict:
        return emulator.client(cloud, "ec2").describe_security_groups(GroupIds=[made[name]])["SecurityGroups"][0]

    assert [pair["GroupId"] for rule in group_of("Cache")["IpPermissions"] for pair in rule["UserIdGroupPairs"]] == [made["Functions"]]
    assert made["Cache"] in json.dumps(group_of("Functions")["IpPermissionsEgress"])
    deploy(resources, ids)
    assert group_of("Cache")["IpPermissions"] == []


def test_a_dual_stack_network_deploys(deploy):
    vpc = {"Ref": "Vpc"}
    blocks = {"Fn::Cidr": [{"Fn::Select": [0, attribute("Vpc", "Ipv6CidrBlocks")]}, 2, "64"]}
    resources = {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Block": {"Type": "AWS::EC2::VPCCidrBlock", "Properties": {"VpcId": vpc, "AmazonProvidedIpv6CidrBlock": True}},
        "Way": {"Type": "AWS::EC2::EgressOnlyInternetGateway", "Properties": {"VpcId": vpc}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "DependsOn": "Block",
            "Properties": {"VpcId": vpc, "CidrBlock": "10.0.0.0/24", "Ipv6CidrBlock": {"Fn::Select": [1, blocks]}},
        },
    }
    made = deploy(resources, {"Share": {"Fn::Select": [1, blocks]}, "Way": attribute("Way", "Id")})
    assert made["Share"] == "2001:db8:1234:5601::/64"


def test_a_table_keeps_its_time_to_live(cloud, deploy):
    def table(attribute_name: str) -> dict:
        properties = {
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
            "TimeToLiveSpecification": {"AttributeName": attribute_name, "Enabled": True},
        }
        return {"Table": {"Type": "AWS::DynamoDB::Table", "Properties": properties}}

    for name in ("ttl", "expires"):
        made = deploy(table(name), {"Name": {"Ref": "Table"}})
        described = emulator.client(cloud, "dynamodb").describe_time_to_live(TableName=made["Name"])
        assert described["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": name}


def test_a_secret_is_referred_to_by_its_arn_and_keeps_it(cloud, deploy):
    def secret(description: str) -> dict:
        return {"Secret": {"Type": "AWS::SecretsManager::Secret", "Properties": {"Description": description, "SecretString": "s"}}}

    first = deploy(secret("one"), {"Arn": {"Ref": "Secret"}})["Arn"]
    assert first.startswith("arn:aws:secretsmanager:")
    assert deploy(secret("two"), {"Arn": {"Ref": "Secret"}})["Arn"] == first
    described = emulator.client(cloud, "secretsmanager").describe_secret(SecretId=first)
    assert (described["ARN"], described["Description"]) == (first, "two")


def test_a_generated_secret_is_without_punctuation_where_told(cloud, deploy):
    generate = {"PasswordLength": 256, "ExcludePunctuation": True}
    secret = {"Type": "AWS::SecretsManager::Secret", "Properties": {"GenerateSecretString": generate}}
    made = deploy({"Secret": secret}, {"Arn": {"Ref": "Secret"}})
    value = emulator.client(cloud, "secretsmanager").get_secret_value(SecretId=made["Arn"])["SecretString"]
    assert len(value) == 256
    assert value.isalnum()


def test_a_user_of_redis_has_the_rights_that_it_was_given(cloud, deploy):
    rights = "on ~bond:* &bond:* +@all -@admin"
    properties = {"Engine": "valkey", "UserId": "test-ingest", "UserName": "ingest", "AccessString": rights}
    authentication = {"AuthenticationMode": {"Type": "password", "Passwords": ["0123456789abcdef"]}}
    deploy({"User": {"Type": "AWS::ElastiCache::User", "Properties": {**properties, **authentication}}})
    users = emulator.client(cloud, "elasticache").describe_users(UserId="test-ingest")["Users"]
    assert [user["AccessString"] for user in users] == [rights]


@pytest.fixture
def socket_api(cloud, deploy):
    """A WebSocket API with a function on `$connect` and `$default`, and a MOCK `ping`. Gives its URL here."""
    bucket = f"code-{uuid.uuid4().hex}"
    store = emulator.client(cloud, "s3")
    store.create_bucket(Bucket=bucket)
    store.put_object(Bucket=bucket, Key="echo.zip", Body=_zip(ECHO))
    api, function = {"Ref": "Api"}, attribute("Function", "Arn")
    uri = {"Fn::Sub": "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/${Function.Arn}/invocations"}
    url = {"Fn::Sub": "wss://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/v1"}

    def of_api(kind: str, **properties) -> dict:
        return {"Type": f"AWS::ApiGatewayV2::{kind}", "Properties": {"ApiId": api, **properties}}

    def route(key: str, integration: str) -> dict:
        return of_api("Route", RouteKey=key, Target={"Fn::Sub": f"integrations/${{{integration}}}"})

    made = deploy(
        {
            "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}}},
            "Function": {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "Runtime": "provided.al2023",
                    "Handler": "bootstrap",
                    "Role": attribute("Role", "Arn"),
                    "Code": {"S3Bucket": bucket, "S3Key": "echo.zip"},
                    "Environment": {"Variables": {"URL": url}},
                },
            },
            "Api": {
                "Type": "AWS::ApiGatewayV2::Api",
                "Properties": {"Name": "test", "ProtocolType": "WEBSOCKET", "RouteSelectionExpression": "$request.body.type"},
            },
            "Stage": of_api("Stage", StageName="v1", AutoDeploy=True),
            "Call": of_api("Integration", IntegrationType="AWS_PROXY", IntegrationUri=uri),
            "Mock": of_api("Integration", IntegrationType="MOCK"),
            "Connect": route("$connect", "Call"),
            "Default": route("$default", "Call"),
            "Ping": route("ping", "Mock"),
            "PingAnswer": of_api("RouteResponse", RouteId={"Ref": "Ping"}, RouteResponseKey="$default"),
            "Pong": of_api(
                "IntegrationResponse",
                IntegrationId={"Ref": "Mock"},
                IntegrationResponseKey="$default",
                ResponseTemplates={"200": '{"type":"pong"}'},
            ),
        },
        {"Url": url, "Function": function},
    )
    return localise(made["Url"], cloud.endpoint)


def _zip(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bootstrap", source)
    return buffer.getvalue()


def test_the_subprotocol_that_connect_names_is_accepted(socket_api):
    socket = WebSocket(socket_api, ["bond.v1"])
    assert socket.subprotocol == "bond.v1"
    socket.close()


def test_a_handshake_that_connect_refuses_has_its_status(socket_api):
    with pytest.raises(ConnectionRefusedError, match="401"):
        WebSocket(f"{socket_api}?token=bad", ["bond.v1"])


def test_a_mock_route_answers(socket_api):
    socket = WebSocket(socket_api, ["bond.v1"])
    assert json.loads(socket.ask('{"type":"ping"}')) == {"type": "pong"}
    socket.close()


def test_a_function_is_told_where_its_api_is_here(socket_api):
    socket = WebSocket(socket_api, ["bond.v1"])
    assert json.loads(socket.ask('{"type":"where"}')) == {"url": socket_api}
    socket.close()


def test_every_type_of_ours_says_why_it_is_here():
    assert all(kind.reason for kind in TYPES)
