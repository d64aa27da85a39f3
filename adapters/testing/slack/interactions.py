"""What people do with an app beside writing to it: slash commands, buttons and selects, windows; and the addresses by
which an app answers.

https://docs.slack.dev/interactivity/handling-user-interaction
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from adapters.testing.slack.accounts import Bot, Json, Profile
from adapters.testing.slack.blocks import check_blocks, elements, options
from adapters.testing.slack.channel import Channel, ChannelKind, Ephemeral
from adapters.testing.slack.delivery import Envelope, EnvelopeKind
from adapters.testing.slack.errors import ApiError
from adapters.testing.slack.message import Content, Message
from adapters.testing.slack.surface_api import TRIGGER_LIFE
from adapters.testing.slack.view import message_object
from adapters.testing.slack.world import World

RESPONSE_LIFE: Final = 30 * 60.0
MAX_RESPONSES: Final = 5
"""A `response_url` is good for five answers in half an hour
(https://docs.slack.dev/interactivity/handling-user-interaction#message_responses)."""


@dataclass(slots=True, eq=False)
class Interaction:
    """One thing that a person did with an app, and what came of it."""

    person: Profile
    bot: Bot
    channel: Channel | None
    message: Message | None = None
    """Whose button it was."""
    at: float = 0.0
    url: str = ""
    """The `response_url`."""
    envelope: Envelope | None = None
    responses: list[Json] = field(default_factory=list)
    """What the app answered, with its acknowledgement or by the `response_url`."""

    @property
    def error(self) -> str | None:
        """What the person is told when the app did not acknowledge: `operation_timeout`, or `dispatch_failed` where it
        could not be reached."""
        if self.envelope is None or not self.envelope.given_up:
            return None
        failure = self.envelope.attempts[-1].failure
        return "dispatch_failed" if failure == "connection_failed" else "operation_timeout"


class Interactions:
    """Every interaction, and the addresses that apps answer to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_url: dict[str, Interaction] = {}
        self.all: list[Interaction] = []

    def command(self, person: Profile, channel: Channel, command: str, text: str) -> Interaction:
        """A slash command (https://docs.slack.dev/interactivity/implementing-slash-commands). Raises ValueError for
        one that no app of the workspace has."""
        bot = self._bot(person, command)
        interaction = self._new(person, bot, channel)
        names = {ChannelKind.DIRECT: "directmessage", ChannelKind.PRIVATE: "privategroup"}
        payload = {
            "token": bot.app.verification,
            "team_id": bot.team.id,
            "team_domain": bot.team.domain,
            "channel_id": channel.id,
            "channel_name": names.get(channel.kind, channel.name),
            "user_id": person.id,
            "user_name": person.name.lower(),
            "command": command,
            "text": text,
            "api_app_id": bot.app.id,
            "is_enterprise_install": "false",
            "response_url": interaction.url,
            "trigger_id": self._trigger(),
        }
        return self._send(interaction, EnvelopeKind.COMMAND, payload)

    def action(self, person: Profile, message: Message, wanted: str, chosen: str | None = None) -> Interaction:
        """The use of a button or a select of a message, named by its `action_id` or its value; `chosen` is the value
        that was selected. Raises ValueError for one that the message does not have."""
        block, element = _find(message, wanted)
        bot = self._owner(message)
        interaction = self._new(person, bot, message.channel, message)
        done: Json = {
            "type": element["type"],
            "action_id": element["action_id"],
            "block_id": block["block_id"],
            "action_ts": self._world.event_ts(),
        }
        if element["type"] == "button":
            done |= {key: element[key] for key in ("text", "value", "url", "style") if key in element}
        else:
            done["selected_option"] = _option(element, chosen)
        container: Json = {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel.id,
            "is_ephemeral": False,
        }
        if message.thread_ts is not None:
            container["thread_ts"] = message.thread_ts
        payload = self._base("block_actions", person, bot) | {
            "container": container,
            "channel": {"id": message.channel.id, "name": message.channel.name or "directmessage"},
            "message": message_object(message, self._world.base_url),
            "state": {"values": {}},
            "response_url": interaction.url,
            "actions": [done],
        }
        return self._send(interaction, EnvelopeKind.INTERACTIVE, payload)

    def submission(self, person: Profile, view: Json, values: Mapping[str, Any]) -> Interaction:
        """The sending of a window; `values` are its `state.values`."""
        bot = next(bot for bot in self._world.bots.values() if bot.bot_id == view["bot_id"])
        interaction = self._new(person, bot, None)
        payload = self._base("view_submission", person, bot)
        payload |= {"view": view | {"state": {"values": dict(values)}}, "response_urls": []}
        return self._send(interaction, EnvelopeKind.INTERACTIVE, payload)

    def answer(self, path: str, body: Any) -> tuple[int, str]:  # noqa: ANN401
        """What an app posts to a `response_url`: the status and the text of the answer."""
        interaction = self._by_url.get(path)
        if interaction is None or self._world.monotonic() - interaction.at > RESPONSE_LIFE:
            return HTTPStatus.NOT_FOUND, "expired_url"
        if len(interaction.responses) >= MAX_RESPONSES:
            return HTTPStatus.NOT_FOUND, "used_url"
        try:
            self._respond(interaction, body)
        except ApiError as error:
            return HTTPStatus.BAD_REQUEST, error.error
        return HTTPStatus.OK, "ok"

    def _new(self, person: Profile, bot: Bot, channel: Channel | None, message: Message | None = None) -> Interaction:
        path = f"/response/{bot.app.id}/{self._world.serial('response url')}"
        interaction = Interaction(person, bot, channel, message, self._world.monotonic())
        interaction.url = f"{self._world.base_url}{path}"
        self._by_url[path] = interaction
        self.all.append(interaction)
        return interaction

    def _send(self, interaction: Interaction, kind: EnvelopeKind, payload: Json) -> Interaction:
        def respond(body: Any) -> None:  # noqa: ANN401
            if kind is EnvelopeKind.COMMAND:
                try:
                    self._respond(interaction, body)
                except ApiError as error:
                    self._world.note(f"the answer to {payload['command']} was not good: {error.error}")
            else:
                interaction.responses.append(body if isinstance(body, dict) else {"text": str(body)})

        feed = self._world.feeds[interaction.bot.app.id]
        interaction.envelope = feed.push(kind, payload, interaction.bot, respond)
        return interaction

    def _respond(self, interaction: Interaction, body: Any) -> None:  # noqa: ANN401
        """Show what an app answers: to the person alone, unless it says otherwise."""
        given: Json = body if isinstance(body, dict) else {"text": str(body)}
        content = Content(str(given.get("text") or ""), check_blocks(given.get("blocks")))
        channel, world, message = interaction.channel, self._world, interaction.message
        if given.get("delete_original") and message is not None:
            world.delete(message)
        elif given.get("replace_original") and message is not None:
            world.revise(message, content, edited=False)
        elif content.empty or channel is None:
            raise ApiError("no_text")
        elif given.get("response_type") == "in_channel":
            world.post(channel, interaction.bot.profile, content, thread_ts=given.get("thread_ts"))
        else:
            now = world.clock()
            only = Ephemeral(channel.new_ts(now), interaction.person.id, interaction.bot.profile, content, now)
            channel.ephemerals.append(only)
        interaction.responses.append(given)
        world.changes.note()

    def _base(self, kind: str, person: Profile, bot: Bot) -> Json:
        return {
            "type": kind,
            "user": {
                "id": person.id,
                "username": person.name.lower(),
                "name": person.name.lower(),
                "team_id": bot.team.id,
            },
            "api_app_id": bot.app.id,
            "token": bot.app.verification,
            "trigger_id": self._trigger(),
            "team": {"id": bot.team.id, "domain": bot.team.domain},
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def _trigger(self) -> str:
        trigger = f"{self._world.serial('trigger')}.1.trigger"
        self._world.triggers[trigger] = self._world.monotonic() + TRIGGER_LIFE
        return trigger

    def _bot(self, person: Profile, command: str) -> Bot:
        for bot in self._world.bots.values():
            if bot.team is person.team and command in bot.app.commands and "commands" in bot.scopes:
                return bot
        raise ValueError(f"{command} is not a valid command")

    def _owner(self, message: Message) -> Bot:
        for bot in self._world.bots.values():
            if bot.profile is message.sender:
                return bot
        raise ValueError("the message is not of an app that can be reached")


def _find(message: Message, wanted: str) -> tuple[Json, Json]:
    for block, element in elements(message.content.blocks):
        if wanted in {element.get("action_id"), element.get("value")}:
            return block, element
    raise ValueError(f"the message has nothing with the action_id or value {wanted!r}")


def _option(element: Json, chosen: str | None) -> Json:
    for option in options(element):
        if option.get("value") == chosen:
            return option
    raise ValueError(f"{chosen!r} cannot be selected")
