"""The two documents that the server describes itself by: OpenAPI for REST, AsyncAPI for WebSockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.validators import validator_for
from openapi_spec_validator import OpenAPIV31SpecValidator
from websockets.asyncio.client import connect

from conftest import ROOT, Server

HERE = Path(__file__).parent
GOLDEN = ROOT / "shared/core/tests/golden"
OFFICIAL = HERE / "node_modules/@asyncapi/specs/schemas/3.0.0.json"

Json = Any


def read(path: Path) -> Json:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="session")
def document() -> Json:
    return read(ROOT / "shared/api/src/rest/asyncapi.json")


def schema_of(document: Json, name: str) -> Json:
    """The schema of this name, with those that it refers to."""
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def complaints(document: Json, name: str, message: Json) -> list[str]:
    """What is wrong with a message, by its schema; a field that the schema does not know is wrong too."""
    validator = Draft202012Validator(schema_of(document, name))
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(message)]
    known = document["components"]["schemas"][name].get("properties", message)
    return errors + [f"undescribed: {field}" for field in message if isinstance(message, dict) and field not in known]


def type_of(schema: Json) -> str | None:
    """The `type` on the wire of the messages that a schema describes."""
    kind: str | None = schema.get("properties", {}).get("type", {}).get("const")
    return kind


def of_topics(schemas: Json) -> Json:
    """The schemas of connections that follow topics by name: everything there has one envelope."""
    return {name: schema for name, schema in schemas.items() if name.startswith("Topic")}


def of_others(schemas: Json) -> Json:
    return {name: schema for name, schema in schemas.items() if not name.startswith("Topic")}


def references(node: Json) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def test_openapi_is_valid(rest: httpx.Client) -> None:
    served = rest.get("/openapi.json").json()
    assert served["openapi"].startswith("3.1")
    errors = [f"{error.json_path}: {error.message}" for error in OpenAPIV31SpecValidator(served).iter_errors()]
    assert not errors, errors


def test_asyncapi_is_served(rest: httpx.Client, document: Json) -> None:
    assert rest.get("/asyncapi.json").json() == document


def test_asyncapi_is_valid(document: Json) -> None:
    assert OFFICIAL.exists(), "run `npm ci` in tests/clients, as scripts/test does"
    official = read(OFFICIAL)
    assert validator_for(official) is Draft7Validator
    errors = [f"{error.json_path}: {error.message}" for error in Draft7Validator(official).iter_errors(document)]
    assert not errors, errors
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere(document: Json) -> None:
    for reference in references(document):
        node = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


def test_examples_are_the_golden_messages_and_valid(document: Json) -> None:
    golden: Json = {}
    for path in GOLDEN.glob("*.json"):
        golden |= read(path)
    golden["batch"] = [golden["trade"], golden["status_lost"]]
    shown = set()
    for message in document["components"]["messages"].values():
        name = message["payload"]["$ref"].rpartition("/")[2]
        for example in message["examples"]:
            assert example["payload"] == golden[example["name"]], example["name"]
            assert not complaints(document, name, example["payload"]), example["name"]
            shown.add(example["name"])
    assert shown == golden.keys()


def test_the_schemas_tell_messages_apart(document: Json) -> None:
    golden = read(GOLDEN / "messages.json") | read(GOLDEN / "topic_messages.json")
    schemas = document["components"]["schemas"]
    for name, message in golden.items():
        alike = of_topics(schemas) if name.startswith("topic_") else of_others(schemas)
        fitting = [kind for kind, schema in alike.items() if type_of(schema) == message["type"]]
        assert len(fitting) == 1, name
        broken = {key: value for key, value in message.items() if key != "type"}
        assert complaints(document, fitting[0], broken), f"{name} without a type is accepted"


async def heard(url: str, messages: list[Json], wanted: set[str]) -> list[Json]:
    """What a client hears until it has heard all that it wants."""
    events: list[Json] = []
    async with asyncio.timeout(40), connect(url, proxy=None) as socket:
        for message in messages:
            await socket.send(json.dumps(message))
        while not wanted <= {event["type"] for event in events}:
            events.append(json.loads(await socket.recv()))
    return events


def test_what_a_server_sends_is_as_described(document: Json, rest: httpx.Client, server: Server) -> None:
    kinds = {type_of(schema): name for name, schema in of_others(document["components"]["schemas"]).items()}
    channels = ["trades", "orderbook", "ticker", "funding", "candles"]
    wish = {"type": "subscribe", "channels": channels, "symbols": ["BTC/USDT"], "raw": True, "correlation_id": 1}
    ping = {"type": "ping", "correlation_id": {"a": [1]}}
    wanted = {"ack", "pong", "error", "heartbeat", "trade", "orderbook", "ticker", "funding", "raw"}
    events = asyncio.run(heard(f"{server.ws}/stream?control=true", [ping, wish], wanted))
    source = {"type": "market", "symbols": ["BTC/USDT"], "exchanges": ["binance", "kraken"]}
    spec = {"sources": [source, {"type": "social", "symbols": ["BTC"]}], "interval_sec": 1}
    for spec, types in (spec, {"aggregate", "status"}), (spec | {"interval_sec": None}, {"trade", "tweet", "status"}):
        created = rest.post("/v1/streams", json={"spec": spec}).json()
        events += asyncio.run(heard(f"{created['ws_url']}&from=0000dead:7", [], {"gap", "heartbeat"} | types))
        rest.delete(f"/v1/streams/{created['stream_id']}")
    for event in events:
        assert not complaints(document, kinds[event["type"]], event), event


def test_what_is_said_of_topics_is_as_described(document: Json, rest: httpx.Client, server: Server) -> None:
    kinds = {type_of(schema): name for name, schema in of_topics(document["components"]["schemas"]).items()}
    events = [{"payload": {"bid": 1}}, {"type": "alert", "payload": "mind"}, {"payload": {"bid": 2}, "meta": {"subtopic": "L1"}}]
    rest.post("/v1/publish", json={"topics": ["prices.DOCUMENTED", "prices.OTHER"], "events": events}).raise_for_status()
    rewind = {"type": "subscribe", "topics": ["prices.DOCUMENTED", "trades.binance.BTC-USDT"], "rewind": 3, "correlation_id": 1}
    ahead = {"type": "subscribe", "topic": "prices.OTHER", "resume_from_seq": 12345}
    wanted = {"ack", "pong", "error", "heartbeat", "delta", "alert", "gap", "snapshot"}
    said = asyncio.run(heard(f"{server.ws}/ws", [rewind, {"type": "ping"}, ahead, {"type": "sing"}], wanted))
    for event in said:
        assert not complaints(document, kinds[event["type"]], event), event


def test_the_glossary_names_types_that_exist() -> None:
    sources = [path for path in ROOT.glob("*/**/src/**/*.rs") if "target" not in path.parts]
    declared = set(re.findall(r"(?m)^\s*pub(?:\([a-z]+\))? (?:struct|enum|trait) (\w+)", "\n".join(path.read_text("utf-8") for path in sources)))
    rows = [line.split("|")[1:4] for line in (ROOT / "docs/glossary.md").read_text("utf-8").splitlines() if line.startswith("| ")][1:]
    words = [word.strip() for word, _, _ in rows]
    assert words == sorted(words), "in the order of the alphabet"
    unknown = [kind for _, _, cell in rows if (kind := cell.strip().strip("`")) and kind not in declared]
    assert not unknown, unknown


def anchors(text: str) -> set[str]:
    """The names that headings have in links."""
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples/README.md", ROOT / "sdk/python/README.md"]
    for document in documents:
        text = re.sub(r"(?s)```.*?```", "", document.read_text("utf-8"))
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if ":" in link:
                continue
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), f"{document.name}: {link}"
            assert not anchor or anchor in anchors(target.read_text("utf-8")), f"{document.name}: {link}"
