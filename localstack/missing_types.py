"""CloudFormation types of Bond's templates that MiniStack 1.5.33 does not know.

The emulator rejects a change set that names an unknown type, so each type that `iac` uses gets a handler here: the call of
the emulated API that the type stands for, or nothing where the emulator has no such part. Handlers have the signatures of
MiniStack's own table: create(logical_id, properties, stack_name) -> (physical id, attributes), delete(physical_id, properties).
An update without a handler of its own creates anew; MiniStack does so for its own types too.
"""

import json
from dataclasses import dataclass
from typing import Callable

from ministack.services import apigateway, ec2
from ministack.services.cloudformation import provisioners


@dataclass(frozen=True)
class MissingType:
    """One type, and why its handler may do what it does."""

    name: str
    reason: str
    create: Callable
    delete: Callable

    def handlers(self) -> dict:
        return {"create": self.create, "delete": self.delete}


def _placeholder(logical_id, properties, stack_name):
    return f"{stack_name}-{logical_id}", {"Id": f"{stack_name}-{logical_id}"}


def _forget(physical_id, properties):
    return None


def _rule_store(direction: str, properties: dict) -> list:
    member = "IpPermissions" if direction == "ingress" else "IpPermissionsEgress"
    return ec2._security_groups[properties["GroupId"]][member]


def _rule_creator(direction: str) -> Callable:
    def create(logical_id, properties, stack_name):
        _rule_store(direction, properties).extend(provisioners._ec2_sg_permissions([properties]))
        return f"{properties['GroupId']}-{logical_id}", {"Id": f"sgr-{logical_id}"}

    return create


def _rule_remover(direction: str) -> Callable:
    def delete(physical_id, properties):
        if properties.get("GroupId") in ec2._security_groups:
            store = _rule_store(direction, properties)
            rules = provisioners._ec2_sg_permissions([properties])
            store[:] = [rule for rule in store if rule not in rules]

    return delete


def _call(response: tuple) -> dict:
    status, _headers, body = response
    if status >= 400:
        raise ValueError(f"API Gateway refused: {body!r}")
    return json.loads(body)


def _camel(properties: dict) -> dict:
    return {name[0].lower() + name[1:]: value for name, value in properties.items()}


def _route_id(reference: str) -> str:
    """A route's or integration's own id; MiniStack's `Ref` of a route is `{api}/{route}`."""
    return reference.rpartition("/")[2]


def _create_route_response(logical_id, properties, stack_name):
    api, route = properties["ApiId"], _route_id(properties["RouteId"])
    made = _call(apigateway._create_route_response(api, route, _camel(properties)))
    return made["routeResponseId"], {"RouteResponseId": made["routeResponseId"]}


def _delete_route_response(physical_id, properties):
    apigateway._delete_route_response(properties["ApiId"], _route_id(properties["RouteId"]), physical_id)


def _create_integration_response(logical_id, properties, stack_name):
    api, integration = properties["ApiId"], _route_id(properties["IntegrationId"])
    made = _call(apigateway._create_integration_response(api, integration, _camel(properties)))
    return made["integrationResponseId"], {"IntegrationResponseId": made["integrationResponseId"]}


def _delete_integration_response(physical_id, properties):
    apigateway._delete_integration_response(properties["ApiId"], _route_id(properties["IntegrationId"]), physical_id)


TYPES = (
    MissingType(
        "AWS::EC2::SecurityGroupIngress",
        "AuthorizeSecurityGroupIngress: a rule between two groups cannot stand inside either of them",
        _rule_creator("ingress"),
        _rule_remover("ingress"),
    ),
    MissingType(
        "AWS::EC2::SecurityGroupEgress",
        "AuthorizeSecurityGroupEgress: as for ingress",
        _rule_creator("egress"),
        _rule_remover("egress"),
    ),
    MissingType(
        "AWS::EC2::VPCCidrBlock",
        "nothing: a VPC gets its IPv6 block when it is made (corrections.py), and the emulator routes nothing",
        _placeholder,
        _forget,
    ),
    MissingType(
        "AWS::EC2::EgressOnlyInternetGateway",
        "nothing: functions run on this machine and leave by its own network",
        _placeholder,
        _forget,
    ),
    MissingType(
        "AWS::ApiGatewayV2::RouteResponse",
        "CreateRouteResponse",
        _create_route_response,
        _delete_route_response,
    ),
    MissingType(
        "AWS::ApiGatewayV2::IntegrationResponse",
        "CreateIntegrationResponse: without one a MOCK route never answers",
        _create_integration_response,
        _delete_integration_response,
    ),
    MissingType(
        "AWS::Budgets::Budget",
        "nothing: what runs here costs nothing",
        _placeholder,
        _forget,
    ),
)


def install() -> None:
    """Adds every handler to MiniStack's table; a type it has learnt since is an error, so that this list shrinks."""
    handlers = provisioners._RESOURCE_HANDLERS
    known = sorted(kind.name for kind in TYPES if kind.name in handlers)
    if known:
        raise RuntimeError(f"MiniStack knows these types itself, take them out of missing_types.py: {known}")
    handlers.update({kind.name: kind.handlers() for kind in TYPES})
