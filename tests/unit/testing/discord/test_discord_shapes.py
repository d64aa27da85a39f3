"""Bodies of every shape: what the server cannot take it refuses with the right form of error, and never breaks."""

import random
from typing import Any

import pytest

from adapters.testing.discord import DiscordServer, Permission
from adapters.testing.discord.components import check_components
from adapters.testing.discord.errors import ApiError
from tests.unit.testing.discord.support import Rest

VALUES: list[Any] = [
    None, True, 0, -1, 5, 1.5, "x", "", "9" * 30, [], {}, [1], ["x"], [{}], [[]], {"a": 1}, {"id": "x"}, [{"id": None}],
    [{"type": 1, "components": [{"type": 2, "style": "x"}]}], [{"type": 1, "components": "x"}],
    [{"type": 17, "components": [5]}], {"parse": 5}, {"parse": ["users"], "users": 5}, {"users": ["x"]},
    {"message_id": []}, [{"fields": 5}], [{"fields": [5]}], [{"footer": 5}], [{"title": []}],
]  # fmt: skip
FIELDS = [
    "content", "nonce", "embeds", "components", "allowed_mentions", "flags", "attachments", "message_reference",
    "enforce_nonce", "name", "type", "auto_archive_duration", "message", "applied_tags", "recipient_id", "archived",
    "data", "description", "options", "topic",
]  # fmt: skip


async def test_no_body_breaks_the_server(server: DiscordServer, rest: Rest) -> None:
    dice = random.Random(1)
    ann = server.person("ann")
    guild = server.guild("Team", ann)
    server.grant(guild, Permission.ADMINISTRATOR)
    general, forum = server.channel(guild, "general"), server.forum(guild, "help")
    theirs, mine = ann.writes(general, "x"), await rest.send(general, "x")
    commands = f"/applications/{server.bot.id}/commands"
    await rest.result("PUT", commands, [{"name": "help", "description": "x"}])
    used = [ann.uses(general, "help") for _ in range(40)]
    routes = [
        ("POST", f"/channels/{general.id}/messages"),
        ("PATCH", f"/channels/{general.id}/messages/{mine['id']}"),
        ("POST", f"/channels/{general.id}/messages/{theirs.id}/threads"),
        ("POST", f"/channels/{general.id}/threads"),
        ("POST", f"/channels/{forum.id}/threads"),
        ("PATCH", f"/channels/{general.id}"),
        ("POST", "/users/@me/channels"),
        ("POST", commands),
        *(("POST", f"/interactions/{each.id}/{each.token}/callback") for each in used),
    ]
    for _ in range(800):
        body: Any = {name: dice.choice(VALUES) for name in dice.sample(FIELDS, dice.randint(0, 4))}
        body |= {name: "ok" for name in ("content", "name", "description") if dice.random() < 0.4}
        method, path = dice.choice(routes)
        status, answer = await rest.call(method, path, dice.choice([body, body, body, dice.choice(VALUES)]))
        assert status < 500, (method, path, body)
        assert status < 400 or {"code", "message"} <= set(answer)


@pytest.mark.parametrize(
    "inner",
    [
        [{"type": 2, "style": 9, "label": "a", "custom_id": "a"}],
        [{"type": 2, "style": 1, "label": "x" * 81, "custom_id": "a"}],
        [{"type": 2, "style": 1, "label": "a", "custom_id": "x" * 101}],
        [{"type": 2, "style": 1, "label": "a"}],
        [{"type": 2, "style": 1, "label": "a", "custom_id": str(number)} for number in range(6)],
        [{"type": 3, "custom_id": "a", "options": [{"label": "a", "value": "a"}], "placeholder": "x" * 151}],
        [{"type": 3, "custom_id": "a", "options": [{"label": "a", "value": "a"}] * 2}],
        [{"type": 3, "custom_id": "a", "options": [{"label": "a"}]}],
        [{"type": 3, "custom_id": "a", "options": [{"label": "x" * 101, "value": "a"}]}],
        [
            {"type": 5, "custom_id": "a"},
            {"type": 2, "style": 1, "label": "a", "custom_id": "b"},
        ],
        [{"type": 10, "content": "x"}],
    ],
)
def test_rows_that_are_refused(inner: list[dict[str, Any]]) -> None:
    with pytest.raises(ApiError) as refused:
        check_components([{"type": 1, "components": inner}], version_2=False)
    assert refused.value.code == 50035


def test_what_a_message_may_hold_at_most() -> None:
    button = {"type": 2, "style": 1, "label": "a"}
    rows = [
        {"type": 1, "components": [button | {"custom_id": f"{row}.{place}"} for place in range(5)]} for row in range(6)
    ]
    shown = check_components(rows[:5], version_2=False)
    assert [each["id"] for each in shown] == [1, 7, 13, 19, 25]
    with pytest.raises(ApiError):
        check_components(rows, version_2=False)
    texts = [{"type": 10, "content": "x" * 100}] * 40
    assert len(check_components(texts, version_2=True)) == 40
    for many in ([*texts, texts[0]], [{"type": 10, "content": "x" * 4001}]):
        with pytest.raises(ApiError):
            check_components(many, version_2=True)
