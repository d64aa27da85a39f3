"""Interactions: a command, a button or a form that a person used, and what the bot answered.

https://docs.discord.com/developers/interactions/receiving-and-responding
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from adapters.testing.discord.accounts import Bot, Json, User
from adapters.testing.discord.channel import Channel
from adapters.testing.discord.files import MAX_FILE
from adapters.testing.discord.message import Message
from adapters.testing.discord.view import channel_object, member_object

ANSWER_SECONDS: Final = 3.0
"""A bot answers first within these
(https://docs.discord.com/developers/interactions/receiving-and-responding#responding-to-an-interaction)."""
TOKEN_SECONDS: Final = 15 * 60.0
"""A token is good for these after the interaction."""


class InteractionType(IntEnum):
    """What a person did."""

    APPLICATION_COMMAND = 2
    MESSAGE_COMPONENT = 3
    APPLICATION_COMMAND_AUTOCOMPLETE = 4
    MODAL_SUBMIT = 5


class CallbackType(IntEnum):
    """What a bot answers with."""

    PONG = 1
    CHANNEL_MESSAGE_WITH_SOURCE = 4
    DEFERRED_CHANNEL_MESSAGE_WITH_SOURCE = 5
    DEFERRED_UPDATE_MESSAGE = 6
    UPDATE_MESSAGE = 7
    APPLICATION_COMMAND_AUTOCOMPLETE_RESULT = 8
    MODAL = 9


@dataclass(slots=True, eq=False)
class Interaction:
    """One interaction. `at` is in seconds of the server's monotonic clock."""

    id: int
    token: str
    type: InteractionType
    bot: Bot
    user: User
    channel: Channel
    data: Json
    at: float
    message: Message | None = None
    """The message whose button was pressed."""
    answered: CallbackType | None = None
    """How the bot answered; None means that the app shows a failure."""
    response: Message | None = None
    """The message that is the answer: a new one, or the one whose button was pressed."""
    followups: list[Message] = field(default_factory=list)
    shown: Json | None = None
    """A form (`MODAL`) or choices that the bot had the app show."""

    def metadata(self) -> Json:
        """The `interaction_metadata` of a message that answers it."""
        owners = {"0": "0" if self.channel.guild is None else str(self.channel.guild.id)}
        return {
            "id": str(self.id),
            "type": int(self.type),
            "user": self.user.object(),
            "authorizing_integration_owners": owners,
        }


def interaction_object(interaction: Interaction, message: Json | None) -> Json:
    """The data of INTERACTION_CREATE; `message` is the message with the button."""
    channel, user = interaction.channel, interaction.user
    permissions = str(int(channel.permissions(user.id)))
    body: Json = {
        "id": str(interaction.id),
        "application_id": str(interaction.bot.id),
        "type": int(interaction.type),
        "token": interaction.token,
        "version": 1,
        "data": interaction.data,
        "channel_id": str(channel.id),
        "channel": channel_object(channel) | {"permissions": permissions},
        "app_permissions": str(int(channel.permissions(interaction.bot.id))),
        "locale": "en-US",
        "entitlements": [],
        "authorizing_integration_owners": interaction.metadata()["authorizing_integration_owners"],
        "context": 1 if channel.guild is None else 0,
        "attachment_size_limit": MAX_FILE,
    }
    if message is not None:
        body["message"] = message
    if channel.guild is None:
        return body | {"user": user.object()}
    guild = channel.guild
    return body | {
        "guild_id": str(guild.id),
        "guild": {"id": str(guild.id), "locale": "en-US", "features": []},
        "guild_locale": "en-US",
        "member": member_object(guild.members[user.id]) | {"permissions": permissions},
    }
