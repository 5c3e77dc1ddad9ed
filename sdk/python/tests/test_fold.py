"""The rules of folding, and JSON with all its digits, as tables."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bond.exact import from_json, to_json
from bond.fold import Fold, Place, merge_patch


@pytest.mark.parametrize(
    "target, patch, merged",
    [
        # The test cases of RFC 7396, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, merged: Any) -> None:
    before = to_json([target, patch])
    assert merge_patch(target, patch) == merged
    assert to_json([target, patch]) == before, "neither is changed"


def test_numbers_keep_their_digits() -> None:
    text = '{"a":0.1000,"b":[1E+2,-0.0,12345678901234567890],"c":{"d":null,"e":true,"é\\"":"x"}}'
    assert from_json(to_json(from_json(text))) == from_json(text)
    assert to_json({"bid": Decimal("99.10")}) == '{"bid":99.10}'


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), float("nan"), {1: 2}])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        to_json({"a": [value]})


def message(kind: str, seq: int, payload: Any = None, epoch: str = "e", **more: Any) -> dict[str, Any]:
    envelope = {"type": kind, "topic": "prices.X", "epoch": epoch, "seq": seq, "ts": "T", "payload": payload, "meta": {}}
    return envelope | more


def folded(fold: Fold, *messages: dict[str, Any]) -> list[tuple[str, int, Any]]:
    states = [state for told in messages if (state := fold.take(told))]
    return [(state.kind, state.seq, state.state) for state in states]


MADE = {"meta": {"synthetic": True}}


def test_a_state_is_folded_and_alerts_leave_it_alone() -> None:
    fold = Fold()
    came = [
        message("ack", 4),
        message("snapshot", 4, {"a": 1, "b": 2}, **MADE),
        message("delta", 5, {"b": None, "c": 3}),
        message("delta", 5, {"c": 4}),
        message("alert", 6, "mind"),
        message("snapshot", 9, {"z": 1}, **MADE),
    ]
    assert folded(fold, *came) == [
        ("snapshot", 4, {"a": 1, "b": 2}),
        ("delta", 5, {"a": 1, "c": 3}),
        ("alert", 6, {"a": 1, "c": 3}),
        ("snapshot", 9, {"z": 1}),
    ]
    assert fold.position == ("e", 9)


def test_after_a_gap_there_is_no_state_to_go_on_from_until_it_is_told() -> None:
    fold = Fold()
    folded(fold, message("delta", 1, {"a": 1}), message("gap", 7))
    assert fold.position is None
    assert folded(fold, message("alert", 8, "mind")) == [("alert", 8, None)]
    assert fold.position is None, "to resume after the alert would fold onto nothing"
    assert folded(fold, message("snapshot", 8, {"a": 5}, **MADE)) == [("snapshot", 8, {"a": 5})]
    assert fold.position == ("e", 8)


def test_a_new_epoch_begins_without_state() -> None:
    fold = Fold()
    assert folded(fold, message("delta", 3, {"a": 1}), message("delta", 1, {"b": 1}, epoch="f"))[1] == ("delta", 1, {"b": 1})
    ended = message("status", 1, epoch="f", state="ended")
    assert folded(fold, ended, message("delta", 1, {"c": 1}, epoch="g")) == [("ended", 1, None), ("delta", 1, {"c": 1})]


def test_a_reader_of_events_goes_on_after_the_last_that_it_has() -> None:
    place = Place()
    assert not place.take(message("ack", 4))
    assert place.position == ("e", 4)
    taken = [place.take(told) for told in (message("alert", 5), message("alert", 5), message("gap", 9), message("delta", 10))]
    assert taken == [True, False, False, True]
    place.take(message("ack", 3))
    assert place.position == ("e", 10), "the ack of a resume says nothing new"
