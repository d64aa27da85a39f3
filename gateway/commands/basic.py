"""The commands about the gateway itself: help, a greeting, how it stands, who one is, which agent answers."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from config import HomeChannel
from gateway.access import Role
from gateway.commands.compact import Summaries
from gateway.commands.services import CommandServices, label
from gateway.commands.table import (
    ESCAPE,
    PREFIX,
    Arguments,
    Command,
    CommandRefusedError,
    CommandTable,
    Effect,
    Parameter,
    Reply,
    buttons,
    in_family,
    say,
)
from gateway.inbound import InboundRecord
from gateway.session import changes, records, slots
from gateway.session.entry import SessionEntry
from gateway.session.scope import Scope
from gateway.storage import queries

FAMILY: Final = "The gateway"

DEFAULT: Final = "default"
"""In place of an agent's name: whoever answers where nothing was chosen."""

ALONE: Final = "{} alone answers you here."
"""Said where the rules of access give somebody an agent, so that there is nothing to choose."""

GREETING: Final = "Hello. Write to me as you would to a person; what begins with a slash is for the gateway."

AGENT_NOTE: Final = (
    f"Everything else goes to the agent. To tell it something that begins like a command, write `{ESCAPE}`. "
    "`/help` with a command's name says more about it."
)


class BasicCommands:
    """Commands about the gateway. `table` gives the whole table, which help is made from; `summaries` tell whether one
    is being written."""

    def __init__(self, services: CommandServices, table: Callable[[], CommandTable], summaries: Summaries) -> None:
        self._services = services
        self._table = table
        self._summaries = summaries

    def commands(self) -> list[Command]:
        """In the order in which help lists them."""
        agents = Parameter("name", names=self._agent_names)
        command = Parameter("command", names=lambda: [command.name for command in self._table().commands])
        return in_family(
            FAMILY,
            [
                Command("help", "Show what you can tell me", self._help, immediate=True, parameters=(command,)),
                Command("start", "Say hello, and show what you can tell me", self._start, immediate=True,
                        parameters=(Parameter("text", "text"),)),
                Command("status", "Show this conversation and what it is doing", self._status, immediate=True),
                Command("agent", "Show or choose who answers in this session", self._agent,
                        parameters=(agents,), role=Role.USER),
                Command("model", "Show or choose the model that answers", self._model,
                        parameters=(agents,), role=Role.USER),
                Command("whoami", "Show who you are to me", self._whoami, immediate=True),
                Command("sethome", "Make this chat the one for messages that nobody asked for", self._sethome,
                        parameters=(Parameter("off", "choice", choices=("off",)),), role=Role.ADMIN),
                Command("quit", "Leave the terminal chat", lambda _record, _given: say("Goodbye."), immediate=True),
            ],
        )  # fmt: skip

    # --- help ------------------------------------------------------------------------------------------------

    def _help(self, record: InboundRecord, given: Arguments) -> Effect:
        wanted = given.text("command")
        if not wanted:
            return say(help_text(self._offered(record)))
        command = self._table().named(wanted)
        if command is None or not self._services.may_run(record, command.name):
            raise CommandRefusedError(f"There is no command {PREFIX}{wanted.removeprefix(PREFIX)}. /help lists them.")
        return say(describe(command))

    def _start(self, record: InboundRecord, _given: Arguments) -> Effect:
        return say(f"{GREETING}\n\n{help_text(self._offered(record))}")

    def _offered(self, record: InboundRecord) -> list[Command]:
        """The commands that whoever asks may use."""
        role = self._services.role(record) or Role.GUEST
        may_run, commands = self._services.may_run, self._table().commands
        return [one for one in commands if not one.hidden and role >= one.role and may_run(record, one.name)]

    # --- how it stands ---------------------------------------------------------------------------------------

    def _status(self, record: InboundRecord, _given: Arguments) -> Effect:
        doing, default = self._services.work.describe(record.identity), self._services.agents.default
        if self._summaries.is_running(record.identity):
            doing = "summarising what was said"
        fixed = self._services.fixed_agent(record)

        def effect(connection: sqlite3.Connection) -> str:
            slot = slots.slot_row(connection, record.identity)
            session_id = slot["session_id"]
            if session_id is None:
                return _status_words(record.identity.key, None, fixed or default, doing)
            chosen = connection.execute(queries.GET_SESSION, (session_id,)).fetchone()["agent"]
            entry = records.load_entry(connection, session_id)
            return _status_words(record.identity.key, entry, fixed or chosen or default, doing)

        return effect

    def _whoami(self, record: InboundRecord, _given: Arguments) -> Effect:
        source, role = record.source, self._services.role(record)
        person = source.user_id_alt or source.user_id
        lines = [
            f"- name: {source.user_name or 'not known'}",
            f"- id: {f'`{source.platform}:{person}`' if person else 'none: you are at this machine'}",
            f"- role: {role.word if role is not None else 'none'}",
            f"- chat: `{source.chat_id}`, {source.chat_type}",
            f"- conversation: `{record.identity.key}`",
        ]
        return say("\n".join(lines))

    async def _sethome(self, record: InboundRecord, given: Arguments) -> Effect:
        source, homes = record.source, self._services.homes
        if given.text("off"):
            await homes.set(source.platform, None)
            home = homes.get(source.platform)
            rest = f"the configuration's is it again: `{home.chat_id}`" if home is not None else "there is none"
            return say(f"No chat is set as {source.platform}'s home channel any more; {rest}.")
        name = source.chat_name or source.user_name
        await homes.set(
            source.platform, HomeChannel(chat_id=source.chat_id or "", name=name, thread_id=source.thread_id)
        )
        return say(
            f"Messages of {source.platform} that nobody asked for come here from now on. `/sethome off` undoes that."
        )

    # --- who answers -----------------------------------------------------------------------------------------

    def _agent_names(self) -> list[str]:
        return [*self._services.agents.names, DEFAULT]

    async def _agent(self, record: InboundRecord, given: Arguments) -> Effect:
        wanted = given.text("name")
        if not wanted:
            return self._show_agents(record, "agent")
        names = {name.casefold(): name for name in self._agent_names()}
        name = names.get(wanted.casefold())
        if name is None:
            raise CommandRefusedError(f"There is no agent “{wanted}”. There are {', '.join(names.values())}.")
        return await self._choose(record, None if name == DEFAULT else name)

    async def _model(self, record: InboundRecord, given: Arguments) -> Effect:
        wanted, agents = given.text("name"), self._services.agents
        if not wanted:
            return self._show_agents(record, "model")
        folded = wanted.casefold()
        by_model = [name for name in agents.names if (agents.model(name) or "").casefold() == folded]
        by_end = [name for name in agents.names if (agents.model(name) or "").casefold().endswith(f":{folded}")]
        name = next(iter(by_model or by_end), None)
        if name is None:
            return await self._agent(record, given)
        return await self._choose(record, name)

    async def _choose(self, record: InboundRecord, name: str | None) -> Effect:
        services, fixed = self._services, self._services.fixed_agent(record)
        if fixed is not None and fixed != name:
            raise CommandRefusedError(f"Nothing was changed: {ALONE.format(fixed)}")
        arrival = await services.store.arrival(record.source, services.clock.now(), identity=record.identity)

        def effect(connection: sqlite3.Connection) -> str:
            entry = records.resolve(connection, records.present_arrival(connection, arrival)).entry
            owner = connection.execute(queries.GET_SESSION, (entry.session_id,)).fetchone()["owner"]
            changes.choose_agent(connection, Scope(owner), entry.session_id, name)
            if name is None:
                return f"The default agent answers here from now on: {services.agents.default}."
            model = services.agents.model(name)
            return f"{name}{f' ({model})' if model else ''} answers in this session from now on."

        return effect

    def _show_agents(self, record: InboundRecord, command: str) -> Effect:
        agents = self._services.agents
        default, fixed = agents.default, self._services.fixed_agent(record)
        names = agents.names if fixed is None else [fixed]

        def effect(connection: sqlite3.Connection) -> Reply:
            session_id = slots.slot_row(connection, record.identity)["session_id"]
            row = connection.execute(queries.GET_SESSION, (session_id,)).fetchone()
            here = fixed or (row["agent"] if row is not None else None) or default
            lines = []
            for name in names:
                marks = [agents.model(name) or "", "answers here" if name == here else "",
                         "default" if name == default else ""]  # fmt: skip
                told = ", ".join(mark for mark in marks if mark)
                lines.append(f"- `{name}`" + (f": {told}" if told else ""))
            rows = [[(label(name), f"/agent {name}")] for name in names if name != here]
            more = ALONE.format(fixed) if fixed is not None else f"`/{command}` with a name chooses one."
            return Reply("\n".join([*lines, "", more]), buttons(*rows))

        return effect


def help_text(commands: Sequence[Command]) -> str:
    """What people can write, by family."""
    lines = ["You can tell me:"]
    families = dict.fromkeys(command.family for command in commands)
    for family in families:
        lines += ["", f"**{family}**", ""]
        lines += [f"- `/{command.name}`: {command.help}" for command in commands if command.family == family]
    return "\n".join([*lines, "", AGENT_NOTE])


def describe(command: Command) -> str:
    """One command: what it does, how to write it."""
    lines = [f"{command.help}.", "", f"- write it as `{command.usage}`"]
    if command.aliases:
        lines.append(f"- or as {', '.join(f'`/{alias}`' for alias in command.aliases)}")
    lines.append(f"- {'works while an answer is written' if command.immediate else 'waits for the running answer'}")
    if command.note:
        lines.append(f"- {command.note}")
    if command.role > Role.GUEST:
        lines.append(f"- for people who are {command.role.word} or more")
    return "\n".join(lines)


def _status_words(key: str, entry: SessionEntry | None, agent: str, doing: str) -> str:
    lines = [f"- conversation: `{key}`", f"- agent: {agent}", f"- now: {doing}"]
    if entry is None:
        return "\n".join([*lines, "- session: none yet; your next message begins one"])
    return "\n".join(
        [
            *lines,
            f"- session: `{entry.session_id}`, {entry.title or 'no title yet'}",
            f"- messages: {entry.message_count}",
            f"- tokens: {entry.total_tokens:,}",
            f"- since: {entry.created_at:%Y-%m-%d %H:%M} UTC",
        ]
    )
