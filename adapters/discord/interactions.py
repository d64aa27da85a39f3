"""Commands that people choose, buttons that they press, menus that they choose from: the same as writing them."""

import asyncio
import logging
from typing import Any, Final, cast

import discord

from adapters.background import Background
from adapters.base import AdapterHost, InboundMessage, InboundState, NotStoredError
from adapters.discord.constants import Timing
from adapters.discord.failures import CALL_ERRORS, in_short
from adapters.discord.normalise import Channel, is_dm, place, roles_of, team_of

log = logging.getLogger(__name__)

TAKEN: Final = "{} is on its way."
GONE: Final = "This does nothing any more."
KEPT_OUT: Final = "That was not taken in: you are not among those whom this bot answers here."
FAILED: Final = "That could not be taken in. Try it again."

SEPARATOR: Final = ":"
"""Between the number of a component, which makes its id one of a kind, and the command that it stands for."""


def custom_id(number: int, command: str) -> str:
    """What a component carries."""
    return f"{number}{SEPARATOR}{command}"


class Interactions:
    """Takes in what people choose and press, and tells Discord within three seconds."""

    def __init__(self, host: AdapterHost, background: Background, timing: Timing) -> None:
        self._host = host
        self._background = background
        self._timing = timing

    def arrived(self, interaction: discord.Interaction[Any]) -> None:
        """Somebody has chosen or pressed something. Where too much is under way, Discord tells them that it failed."""
        if interaction.type in (discord.InteractionType.application_command, discord.InteractionType.component):
            self._background.start(self._handle(interaction), "what somebody pressed in Discord")

    async def _handle(self, interaction: discord.Interaction[Any]) -> None:
        try:
            message = inbound(interaction, await _channel(interaction))
            if message is None:
                await interaction.response.send_message(GONE, ephemeral=True)
                return
            await self._take(interaction, message)
        except CALL_ERRORS as error:
            log.info("a choice in Discord could not be acknowledged: %s", in_short(error))

    async def _take(self, interaction: discord.Interaction[Any], message: InboundMessage) -> None:
        """Store it, then acknowledge; first show that it is on its way only where storing takes long."""
        storing = asyncio.ensure_future(self._store(message))
        try:
            done, _ = await asyncio.wait({storing}, timeout=self._timing.acknowledge)
            pressed = interaction.type is discord.InteractionType.component
            if not done:
                await interaction.response.defer(ephemeral=True, thinking=not pressed)
            words = await storing
            if not pressed:
                await self._say(interaction, words or TAKEN.format(f"`{message.text}`"[:1_000]))
            elif words is not None:
                await self._say(interaction, words)
            elif done:
                await interaction.response.defer()
        finally:
            if not storing.done():
                # What Discord was not told is stored all the same.
                await asyncio.shield(storing)

    async def _store(self, message: InboundMessage) -> str | None:
        """None, or what to tell the person."""
        try:
            accepted = await self._host.accept(message)
        except NotStoredError as error:
            return str(error)
        except Exception:
            log.exception("what somebody pressed in Discord could not be taken in")
            return FAILED
        return KEPT_OUT if accepted.state is InboundState.IGNORED else None

    @staticmethod
    async def _say(interaction: discord.Interaction[Any], words: str) -> None:
        if interaction.response.is_done():
            await interaction.followup.send(words, ephemeral=True)
        else:
            await interaction.response.send_message(words, ephemeral=True)


async def _channel(interaction: discord.Interaction[Any]) -> Channel | None:
    """Where it was. A place in a guild that the library does not know is asked for."""
    channel = cast("Channel | None", interaction.channel)
    if isinstance(channel, discord.PartialMessageable) and not is_dm(channel):
        client: discord.Client = interaction.client
        return await client.fetch_channel(channel.id)
    return channel


def inbound(interaction: discord.Interaction[Any], channel: Channel | None) -> InboundMessage | None:
    """An interaction as the message that says the same; None for what stands for nothing."""
    data = cast("dict[str, Any]", interaction.data or {})
    text = _text(interaction, data)
    if channel is None or text is None:
        return None
    return InboundMessage(
        source=place(channel, interaction.user),
        message_id=f"interaction:{interaction.id}",
        text=text,
        sent_at=interaction.created_at,
        roles=roles_of(interaction.user),
        team=team_of(channel),
    )


def _text(interaction: discord.Interaction[Any], data: dict[str, Any]) -> str | None:
    if interaction.type is discord.InteractionType.application_command:
        if data.get("type") != discord.AppCommandType.chat_input.value:
            return None
        given = [str(option.get("value", "")).strip() for option in data.get("options") or ()]
        return " ".join([f"/{data['name']}", *filter(None, given)])
    values = data.get("values") or [data.get("custom_id", "")]
    command = str(values[0]).partition(SEPARATOR)[2]
    return command if command.startswith("/") else None
