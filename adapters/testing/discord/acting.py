"""What people do with the things that bots show them: commands, buttons, selects, forms."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.testing.discord.accounts import Bot, Json, User
from adapters.testing.discord.channel import Channel
from adapters.testing.discord.components import ComponentType, every
from adapters.testing.discord.files import File
from adapters.testing.discord.interactions import Interaction, InteractionType
from adapters.testing.discord.message import Message
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.world import World

ATTACHMENT: Final = 11
"""The type of an option that takes a file."""
GROUPS: Final = (1, 2)
"""Types of options that are commands themselves."""


class Actor:
    """Somebody who uses what a bot shows. What no app lets a person do raises ValueError."""

    def __init__(self, world: World, user: User, monotonic: Callable[[], float]) -> None:
        self._world = world
        self._monotonic = monotonic
        self.user = user

    @property
    def id(self) -> int:
        """The account's id."""
        return self.user.id

    @property
    def name(self) -> str:
        """The username."""
        return self.user.name

    @property
    def mention(self) -> str:
        """The markup that mentions them."""
        return self.user.mention

    def presses(self, message: Message, custom_id: str) -> Interaction:
        """Press a button of a message."""
        button = self._component(message, custom_id, ComponentType.BUTTON)
        if button.get("disabled"):
            raise ValueError(f"the button {custom_id!r} is disabled")
        data = {"custom_id": custom_id, "component_type": int(ComponentType.BUTTON), "id": button["id"]}
        return self._interact(InteractionType.MESSAGE_COMPONENT, self._owner(message), message.channel, data, message)

    def chooses(self, message: Message, custom_id: str, *values: str) -> Interaction:
        """Choose options of a select menu."""
        select = self._component(message, custom_id, ComponentType.STRING_SELECT)
        offered = {option["value"] for option in select["options"]}
        if not set(values) <= offered or not values:
            raise ValueError(f"the menu {custom_id!r} offers {sorted(offered)}")
        kind = int(ComponentType.STRING_SELECT)
        data = {"custom_id": custom_id, "component_type": kind, "values": list(values), "id": select["id"]}
        return self._interact(InteractionType.MESSAGE_COMPONENT, self._owner(message), message.channel, data, message)

    def uses(self, channel: Channel, command: str, *, bot: Bot | None = None, **options: object) -> Interaction:
        """Use a chat command; a subcommand is written after its command, as in `session new`."""
        self._see(channel)
        if Permission.USE_APPLICATION_COMMANDS not in channel.permissions(self.id):
            raise ValueError(f"{self.name} may not use commands here")
        name, *inner = command.split()
        owner, found = self._command(channel, name, bot)
        resolved: Json = {}
        data: Json = {"id": found["id"], "name": name, "type": found["type"]}
        given = self._options(channel, found, inner, options, resolved)
        if given:
            data["options"] = given
        if resolved:
            data["resolved"] = resolved
        return self._interact(InteractionType.APPLICATION_COMMAND, owner, channel, data, None)

    def submits(self, interaction: Interaction, **values: str) -> Interaction:
        """Fill in the form that the bot answered an interaction with; values by `custom_id`."""
        if interaction.shown is None or "custom_id" not in interaction.shown:
            raise ValueError("the bot has shown no form")
        rows = []
        for component in every(interaction.shown["components"]):
            if component.get("type") == ComponentType.TEXT_INPUT:
                name = component["custom_id"]
                field = {"type": int(ComponentType.TEXT_INPUT), "custom_id": name, "value": values.get(name, "")}
                rows.append({"type": int(ComponentType.ACTION_ROW), "components": [field]})
        data = {"custom_id": interaction.shown["custom_id"], "components": rows}
        return self._interact(
            InteractionType.MODAL_SUBMIT, interaction.bot, interaction.channel, data, interaction.message
        )

    def _interact(
        self, kind: InteractionType, bot: Bot, channel: Channel, data: Json, message: Message | None
    ) -> Interaction:
        number = self._world.ids.next()
        token = f"interaction-{number:x}-of-no-value"
        interaction = Interaction(number, token, kind, bot, self.user, channel, data, self._monotonic(), message)
        self._world.interact(interaction)
        return interaction

    def _see(self, channel: Channel) -> None:
        if Permission.VIEW_CHANNEL not in channel.permissions(self.id):
            raise ValueError(f"{self.name} does not see the channel")

    def _owner(self, message: Message) -> Bot:
        self._see(message.channel)
        if message.ephemeral_for not in {None, self.id}:
            raise ValueError(f"{self.name} does not see the message")
        try:
            return self._world.bots[message.author.id]
        except KeyError:
            raise ValueError("the message is no bot's") from None

    @staticmethod
    def _component(message: Message, custom_id: str, kind: ComponentType) -> Json:
        for component in every(message.content.components):
            if component.get("custom_id") == custom_id and component["type"] == kind:
                return component
        raise ValueError(f"the message has no {kind.name} with the id {custom_id!r}")

    def _command(self, channel: Channel, name: str, bot: Bot | None) -> tuple[Bot, Json]:
        guild_id = None if channel.guild is None else channel.guild.id
        for (owner, place), commands in sorted(self._world.commands.items(), key=lambda each: each[0][1] is None):
            if place not in {None, guild_id} or bot not in {None, self._world.bots[owner]}:
                continue
            for command in commands.values():
                if command["name"] == name:
                    return self._world.bots[owner], command
        raise ValueError(f"there is no command {name!r} here")

    def _options(
        self, channel: Channel, command: Json, inner: list[str], given: Mapping[str, object], resolved: Json
    ) -> list[Json]:
        known = {option["name"]: option for option in command.get("options") or []}
        if inner:
            option = known[inner[0]]
            below = self._options(channel, option, inner[1:], given, resolved)
            return [{"name": inner[0], "type": option["type"], "options": below}]
        if any(option["type"] in GROUPS for option in known.values()):
            raise ValueError(f"a subcommand is needed: {sorted(known)}")
        missing = [name for name, option in known.items() if option.get("required") and name not in given]
        if missing or not set(given) <= set(known):
            raise ValueError(f"the command takes {sorted(known)}; missing: {missing}")
        return [
            {"name": name, "type": known[name]["type"], "value": self._value(channel, known[name], value, resolved)}
            for name, value in given.items()
        ]

    def _value(self, channel: Channel, option: Json, value: object, resolved: Json) -> Any:  # noqa: ANN401
        if option["type"] == ATTACHMENT and isinstance(value, File):
            attachment = self._world.attachment(channel, value)
            shown = self._world.cdn.object(attachment)
            resolved.setdefault("attachments", {})[str(attachment.id)] = shown
            return str(attachment.id)
        if isinstance(value, (User, Actor)):
            user = value.user if isinstance(value, Actor) else value
            resolved.setdefault("users", {})[str(user.id)] = user.object()
            return str(user.id)
        return value
