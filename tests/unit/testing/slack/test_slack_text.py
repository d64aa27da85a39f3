"""Text as Slack keeps it, and what people see of it."""

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import SlackServer
from adapters.testing.slack.text import displayed, escape, mentions, typed, unescape


@pytest.mark.parametrize("text", ["a & b", "<b>", "&amp;", "&lt;!channel&gt;", "&copy; <@U1>", ""])
def test_escaping_is_undone(text: str) -> None:
    assert unescape(escape(text)) == text
    assert mentions(escape(text)) == ()


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("<@U1> and <@U2|bob>", ("U1", "U2")),
        ("<!channel> <!here|here> <!everyone>", ("channel", "here", "everyone")),
        ("<!subteam^S1|@team>", ("S1",)),
        ("```<!channel>``` `<@U1>`", ("channel", "U1")),
        ("&lt;!channel&gt; <#C1|general> <https://e.org|@here> <!date^1^{date}|x> @channel", ()),
    ],
)
def test_whom_a_text_calls(text: str, called: tuple[str, ...]) -> None:
    assert mentions(text) == called


def test_what_people_read() -> None:
    text = "<@U1> &lt;3 <!here> <#C1|talk> <#C1> <https://e.org|site> <https://e.org?a&amp;b> <!date^1^{d}|then>"
    names = {"U1": "Ann", "C1": "general"}
    assert displayed(text, lambda thing: names[thing]) == ("@Ann <3 @here #talk #general site https://e.org?a&b then")


def test_what_an_app_makes_of_typing() -> None:
    users, channels = {"Ann": "U1", "a.b": "U2"}, {"general": "C1"}
    assert typed("@Ann, @a.b. @Nobody @here! #general #other <&> https://e.org/a&b", users, channels) == (
        "<@U1>, <@U2>. @Nobody <!here>! <#C1|general> #other &lt;&amp;&gt; <https://e.org/a&amp;b>"
    )


async def test_a_call_counts_wherever_it_stands(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    general = server.channel("general", ann)
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "<!here>"}}
    plain = {"type": "section", "text": {"type": "plain_text", "text": "<!here>"}}
    markdown = {"type": "markdown", "text": f"<@{ann.id}>"}
    words = {"type": "section", "text": {"type": "mrkdwn", "text": "@here, and a@here.org"}}
    verbatim = {"type": "section", "text": {"type": "mrkdwn", "text": "@here", "verbatim": True}}
    await web.chat_postMessage(channel=general.id, text="quiet", blocks=[section])
    await web.chat_postMessage(channel=general.id, text="quiet", blocks=[plain])
    await web.chat_postMessage(channel=general.id, text="quiet", blocks=[markdown])
    await web.chat_postMessage(channel=general.id, text="quiet", blocks=[words])
    await web.chat_postMessage(channel=general.id, text="quiet", blocks=[verbatim])
    await web.chat_postMessage(channel=general.id, markdown_text="<!everyone>")
    await web.chat_postMessage(channel=general.id, text="@channel")
    await web.chat_postMessage(channel=general.id, text="@channel", link_names=True)
    await web.chat_postMessage(channel=general.id, text=escape("<!channel>"))
    assert [each.notified for each in server.shown(general)] == [
        ("here",), (), (ann.id,), ("here",), (), ("everyone",), (), ("channel",), (),
    ]  # fmt: skip
    assert [each.text for each in server.shown(general)][-1] == "<!channel>"
