"""Where MiniStack 1.5.33 does otherwise than AWS, and Bond would notice.

Each function mends one difference and says which. What Bond does not notice stays as it is.
"""

import json
import os
import string
from contextvars import ContextVar
from http import HTTPStatus
from xml.sax.saxutils import escape

from ministack.services import apigateway, dynamodb, elasticache, lambda_svc
from ministack.services.cloudformation import provisioners

from addresses import localise_environment

# The prefix of a VPC in place of one from Amazon's pool. 2001:db8::/32 is reserved for documentation (RFC 3849).
VPC_IPV6_BLOCK = "2001:db8:1234:5600::/56"

_connect_response: ContextVar[dict | None] = ContextVar("connect_response", default=None)


def install() -> None:
    """Makes all corrections."""
    answer_handshakes_as_connect_does()
    hand_functions_local_addresses()
    give_vpcs_an_ipv6_block()
    keep_time_to_live()
    refer_to_secrets_by_arn()
    leave_punctuation_out()
    spell_rights_as_xml()


def answer_handshakes_as_connect_does() -> None:
    """API Gateway accepts with the subprotocol that the answer of `$connect` names, and refuses with its status.

    MiniStack accepts without a subprotocol, so that a browser closes, and refuses always with 403.
    """
    invoke, handle = apigateway._invoke_ws_lambda, apigateway.handle_websocket

    async def invoke_and_remember(*args, **kwargs):
        response = await invoke(*args, **kwargs)
        if "CONNECT" in args:
            _connect_response.set(response)
        return response

    async def handle_as_told(scope, receive, send, *args, **kwargs):
        await handle(scope, receive, _answering(scope, send), *args, **kwargs)

    apigateway._invoke_ws_lambda = invoke_and_remember
    apigateway.handle_websocket = handle_as_told


def _answering(scope, send):
    """`send` with the handshake's answer replaced by that of `$connect`."""
    open_ = False

    async def answer(message):
        nonlocal open_
        response = _connect_response.get() or {}
        refused = message["type"] == "websocket.close" and not open_ and response
        if refused and "websocket.http.response" in scope.get("extensions", {}):
            return await _refuse(send, int(response["statusCode"]))
        if message["type"] == "websocket.accept":
            open_ = True
            message = {**message, **_chosen_subprotocol(response)}
        await send(message)

    return answer


def _chosen_subprotocol(response: dict) -> dict:
    headers = response.get("headers") or {}
    return {"subprotocol": value for name, value in headers.items() if name.lower() == "sec-websocket-protocol"}


async def _refuse(send, status: int) -> None:
    body = json.dumps({"message": HTTPStatus(status).phrase}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def hand_functions_local_addresses() -> None:
    """A function's environment names APIs by their hosts on AWS, which nothing resolves here."""
    environment_of = lambda_svc._runtime_env_vars
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or f"http://127.0.0.1:{os.environ.get('GATEWAY_PORT', '4566')}"

    def local_environment(config: dict) -> dict:
        return localise_environment(environment_of(config), endpoint)

    lambda_svc._runtime_env_vars = local_environment


def give_vpcs_an_ipv6_block() -> None:
    """Dual-stack subnets take their share of the VPC's attribute `Ipv6CidrBlocks`, which MiniStack's has not."""
    create = provisioners._RESOURCE_HANDLERS["AWS::EC2::VPC"]["create"]

    def create_dual_stack(logical_id, properties, stack_name):
        vpc, attributes = create(logical_id, properties, stack_name)
        return vpc, {**attributes, "Ipv6CidrBlocks": [VPC_IPV6_BLOCK]}

    _replace("AWS::EC2::VPC", create=create_dual_stack)


def keep_time_to_live() -> None:
    """A table's `TimeToLiveSpecification` is dropped when it comes in a template, and works when set by the API."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    create, update = handlers["create"], handlers["update"]

    def create_with_ttl(logical_id, properties, stack_name):
        return _with_ttl(create(logical_id, properties, stack_name), properties)

    def update_with_ttl(physical_id, old, new, *rest):
        return _with_ttl(update(physical_id, old, new, *rest), new)

    _replace("AWS::DynamoDB::Table", create=create_with_ttl, update=update_with_ttl)


def _with_ttl(made: tuple, properties: dict) -> tuple:
    if specification := properties.get("TimeToLiveSpecification"):
        enabled = str(specification.get("Enabled")).lower() == "true"
        dynamodb._update_ttl({"TableName": made[0], "TimeToLiveSpecification": {**specification, "Enabled": enabled}})
    return made


def refer_to_secrets_by_arn() -> None:
    """`Ref` of a secret is its ARN, which policies compare with; MiniStack's is the name."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def create_by_arn(logical_id, properties, stack_name):
        return _by_arn(create(logical_id, properties, stack_name))

    def update_by_arn(physical_id, *rest):
        return _by_arn(update(_secret_name(physical_id), *rest))

    def delete_by_arn(physical_id, properties):
        return delete(_secret_name(physical_id), properties)

    _replace("AWS::SecretsManager::Secret", create=create_by_arn, update=update_by_arn, delete=delete_by_arn)


def _by_arn(made: tuple) -> tuple:
    return made[1]["Arn"], made[1]


def _secret_name(arn: str) -> str:
    """`…:secret:{name}-{six characters}`."""
    return arn.rpartition(":")[2].rpartition("-")[0]


def leave_punctuation_out() -> None:
    """A generated secret heeds `ExcludePunctuation`, which MiniStack drops: Redis takes only some of it in a password."""
    generate = provisioners._sm_secret_string

    def generate_as_told(properties: dict) -> str:
        wanted = properties.get("GenerateSecretString") or {}
        if str(wanted.get("ExcludePunctuation")).lower() == "true":
            excluded = wanted.get("ExcludeCharacters", "") + string.punctuation
            properties = {**properties, "GenerateSecretString": {**wanted, "ExcludeCharacters": excluded}}
        return generate(properties)

    provisioners._sm_secret_string = generate_as_told


def spell_rights_as_xml() -> None:
    """ElastiCache tells a user's rights with `&`, which names channels, escaped; MiniStack as it is, which is no XML."""
    spell = elasticache._user_xml

    def spell_escaped(user: dict) -> str:
        return spell({**user, "AccessString": escape(user.get("AccessString", ""))})

    elasticache._user_xml = spell_escaped


def _replace(kind: str, **handlers) -> None:
    provisioners._RESOURCE_HANDLERS[kind] = {**provisioners._RESOURCE_HANDLERS[kind], **handlers}
