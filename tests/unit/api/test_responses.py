"""The events of a response, and the response that stands at their end."""

from datetime import UTC, datetime

import pytest

from gateway.api.ledger import Answer, Asked
from gateway.api.responses import ResponseStream

ASKED = Asked("resp_1", "tests", "response", "resp_1", "", {"model": "echo"}, datetime(2026, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer("half"), "completed"),
        (Answer("half", stopped=True), "incomplete"),
        (Answer("half", error="it broke"), "incomplete"),
    ],
)
def test_an_item_ends_in_the_stream_as_in_the_whole_response(answer: Answer, status: str) -> None:
    stream = ResponseStream(ASKED)
    events = [*stream.begin(), *stream.text("half"), *stream.end(answer, "half")]
    (done,) = [event for event in events if event["type"] == "response.output_item.done"]
    assert done["item"] == events[-1]["response"]["output"][0]
    assert done["item"]["status"] == status
