"""The Slack adapter: connects an account, and hands the work to its parts."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from adapters.background import Background
from adapters.base import (
    AccountError,
    Adapter,
    AdapterHost,
    AdapterState,
    Attachment,
    Capabilities,
    Composer,
    Delivery,
    Found,
    MediaError,
    NotConnectedError,
    Rate,
    SearchOutcome,
    Target,
)
from adapters.connection import Connection, Sleep
from adapters.markup.slack import MAX_LENGTH
from adapters.slack import files
from adapters.slack.client import CallError, Client, NotSentError, SlackError
from adapters.slack.compose import SlackComposer
from adapters.slack.constants import TIMING, Timing
from adapters.slack.failures import APPS, bot_refused, refuses_token
from adapters.slack.intake import Intake
from adapters.slack.normalise import Rules
from adapters.slack.positions import CHANNEL
from adapters.slack.requests import Requests
from adapters.slack.scopes import missing_scopes
from adapters.slack.send import Sender
from adapters.slack.socket_mode import SocketMode
from adapters.slack.wording import Account
from adapters.slack.workspaces import Bot, Surroundings, Workspace, Workspaces, refused
from config import PlatformConfig
from config.platforms import SlackConfig

log = logging.getLogger(__name__)

T = TypeVar("T")

ONE_CHAT: Final = Rate(1, 1.0)
"""Slack takes about one message a second in a conversation
(https://docs.slack.dev/apis/web-api/rate-limits#posting_messages)."""

ALL_CHATS: Final = Rate(100, 60.0)
"""Slack takes several hundred new messages a minute of an app in a workspace, but about fifty edits. Of what is sent
here, at most half are edits of a growing answer."""

CAPABILITIES: Final = Capabilities(
    edit=True,
    delete=True,
    typing=True,
    threads=True,
    buttons=True,
    media=True,
    find=True,
    backfill=True,
    max_length=MAX_LENGTH,
    length_unit="utf16",
    edit_interval=1.5,
    rate=ALL_CHATS,
    typing_seconds=60.0,
    redactable_ids=False,
)


class SlackAdapter(Adapter):
    """One app, with a bot in each of its workspaces.

    `timing`, `sleep` and `jitter` (numbers from 0 to 1) can be replaced for tests.
    """

    capabilities = CAPABILITIES

    def __init__(
        self,
        config: PlatformConfig,
        host: AdapterHost,
        *,
        timing: Timing = TIMING,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not isinstance(config, SlackConfig):
            config = SlackConfig.model_validate(config.model_dump(exclude_unset=True))
        if config.bot_token is None:
            raise AccountError(f"platforms.slack.bot_token is missing: {APPS}, OAuth & Permissions, shows it (xoxb-…)")
        self._config = config
        self._base_url = config.api_base_url
        self._tokens = [each.get_secret_value().strip() for each in (config.bot_token, *config.workspaces)]
        self._host = host
        self._timing = timing
        self._sleep = sleep
        self._connection = Connection(
            host, first_wait=timing.first_wait, longest_wait=timing.longest_wait, sleep=sleep, jitter=jitter
        )
        self._workspaces: Workspaces | None = None

    async def run(self) -> None:
        """Connect and receive until cancelled. Raises `AccountError` where only the operator can mend it."""
        self._connection.connecting()
        background, clients = Background(), [Client(token, self._base_url, self._timing) for token in self._tokens]
        try:
            account = await self._until_done(partial(self._login, clients[0]))
            await self._connection.stored(lambda: self._host.identify(f"{account.team_id}:{account.user_id}"))
            log.info("connected to Slack as %s in the workspace %s", account.name, account.team_id)
            bots = [Bot(clients[0], account), *[bot async for bot in self._further(clients[1:], account)]]
            await self._work(bots, background)
        finally:
            self._workspaces = None
            await background.close()
            for client in clients:
                await client.close()

    async def _further(self, clients: Sequence[Client], first: Account) -> AsyncIterator[Bot]:
        """The bots in further workspaces. One that is refused keeps nobody from the others."""
        teams = {first.team_id}
        for number, client in enumerate(clients, start=1):
            try:
                account = await self._until_done(partial(self._login, client))
            except AccountError as error:
                self._leave_out(refused(number, error))
                continue
            if account.team_id in teams:
                self._leave_out(refused(number, AccountError(f"it is the second for {account.team_id}")))
                continue
            teams.add(account.team_id)
            log.info("connected to Slack as %s in the workspace %s too", account.name, account.team_id)
            yield Bot(client, account, number)

    def _leave_out(self, reason: str) -> None:
        log.error("%s", reason)
        self._connection.note = reason

    async def _work(self, bots: Sequence[Bot], background: Background) -> None:
        host = self._host
        cursors = await self._connection.stored(lambda: host.cursors(CHANNEL))
        around = Surroundings(
            self._config,
            host,
            self._connection,
            self._timing,
            self._sleep,
            background,
            self._rules,
            lambda client, pane: self._suggest(client, background, pane),
        )
        made = [Workspace(bot, around, cursors) for bot in bots]
        self._workspaces = workspaces = Workspaces(host, made, cursors)
        intake = Intake(host, workspaces, self._connection)
        workspaces.connect(intake)
        first = workspaces.first
        try:
            # What was missed may be older than what an earlier process has left.
            workspaces.hold_back()
            if self._config.mode == "http":
                # Until now an earlier run has stored what is posted; that is handed on with all that it left.
                host.handle_http(self._requests(intake).handle)
            await intake.catch_up()
            await _together(
                intake.run(),
                first.backfill.run(),
                first.watch.run(workspaces.missed),
                self._listen(first.client, intake, background, workspaces),
                *(self._keep_up(each) for each in workspaces.further),
            )
        finally:
            for each in made:
                await each.names.close()

    async def _keep_up(self, workspace: Workspace) -> None:
        """Look after a further workspace, for as long as its bot is known there."""
        try:
            await _together(workspace.backfill.run(), workspace.watch.run(workspace.backfill.begin))
        except AccountError as error:
            assert self._workspaces is not None
            self._workspaces.drop(workspace)
            self._leave_out(refused(workspace.number, error))
            self._connection.wake()
        await asyncio.Event().wait()

    def _rules(self) -> Rules:
        config = self._config
        return Rules(
            require_mention=config.require_mention,
            follow_threads=config.follow_threads,
            free_channels=frozenset(config.free_channels),
            commands=self._host.command_names,
        )

    async def _listen(self, client: Client, intake: Intake, background: Background, workspaces: Workspaces) -> None:
        config = self._config
        if config.mode == "http":
            workspaces.missed()
            self._connection.connected()
            await asyncio.Event().wait()
        if config.app_token is None:
            raise AccountError(
                f"platforms.slack.app_token is missing: {APPS}, Basic Information, App-Level Tokens, makes one"
            )
        token = config.app_token.get_secret_value().strip()
        socket = SocketMode(client, token, intake, self._connection, background, self._timing, workspaces.missed)
        await socket.run()

    def _requests(self, intake: Intake) -> Requests:
        secret = self._config.signing_secret
        if secret is None:
            raise AccountError("platforms.slack.mode: http needs signing_secret beside it")
        return Requests(secret.get_secret_value().strip(), self._host, intake)

    # --- the account -----------------------------------------------------------------------------------------

    async def _login(self, client: Client) -> Account:
        """Who we are. Raises `SlackError` and `AccountError`."""
        me, headers = await client.answered(client.web.auth_test())
        if not me.get("bot_id"):
            raise AccountError("platforms.slack.bot_token is not a bot's: put in the one that begins with xoxb-")
        if "x-oauth-scopes" in headers:
            granted = frozenset(each.strip() for each in headers["x-oauth-scopes"].split(","))
            missing_scopes(granted, str(me["team_id"]))
        return Account(str(me["user_id"]), str(me["bot_id"]), str(me["team_id"]), str(me.get("user") or ""))

    async def _until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call's result, tried again until Slack can be reached. Raises `AccountError`."""
        while True:
            try:
                return await call()
            except SlackError as error:
                if isinstance(error, CallError) and refuses_token(error):
                    raise bot_refused(error) from None
                at_least = error.retry_after if isinstance(error, CallError) else None
                reach = "cannot be reached" if isinstance(error, NotSentError) else "gives no proper answer"
                await self._connection.rest(AdapterState.CONNECTING, f"Slack {reach}: {error}", at_least=at_least)

    def _suggest(self, client: Client, background: Background, pane: Mapping[str, Any]) -> None:
        """Suggest something to ask, in a pane that somebody has opened."""
        channel, thread = pane.get("channel_id"), pane.get("thread_ts")
        if self._config.suggested_prompts and channel and thread:
            background.start(self._prompts(client, str(channel), str(thread)), "the suggested prompts")

    async def _prompts(self, client: Client, channel: str, thread: str) -> None:
        prompts = [{"title": text, "message": text} for text in self._config.suggested_prompts]
        try:
            await client.call(
                client.web.assistant_threads_setSuggestedPrompts(channel_id=channel, thread_ts=thread, prompts=prompts)
            )
        except SlackError as error:
            log.info("no prompts could be suggested: %s", error)

    # --- what goes out ---------------------------------------------------------------------------------------

    async def send(self, delivery: Delivery) -> str:
        """Show a part, or a file, as a new message. Raises `DeliveryError`."""
        return await self._outgoing(delivery.target).send(delivery)

    async def edit(self, delivery: Delivery) -> None:
        """Make a message show the part. Raises `DeliveryError`."""
        await self._outgoing(delivery.target).edit(delivery)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Look for a message whose send had no answer. Raises `DeliveryError`."""
        return await self._outgoing(delivery.target).find(delivery)

    async def delete(self, delivery: Delivery) -> None:
        """Take a message away. Raises `DeliveryError`."""
        await self._outgoing(delivery.target).delete(delivery)

    async def typing(self, target: Target) -> None:
        """Show under a thread that something is being written. Raises `DeliveryError`."""
        await self._outgoing(target).typing(target)

    async def fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on a file that somebody sent. Raises `MediaError`."""
        if self._workspaces is None:
            raise MediaError("Slack is not connected", retryable=True)
        found = self._workspaces.of_file(attachment.id)
        if found is None:
            raise MediaError("the file is in a workspace that is not set up any more")
        workspace, file_id = found
        await files.fetch(workspace.client, replace(attachment, id=file_id), write)

    def composer(self) -> Composer:
        """What makes the messages of one text."""
        return SlackComposer(self._config.max_messages, "users" if self._config.allow_mentions else "neutralise")

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """One message a second, whatever the conversation."""
        del chat_id
        return (ONE_CHAT,)

    def _outgoing(self, target: Target) -> Sender:
        if self._workspaces is None:
            raise NotConnectedError("Slack is not connected")
        return self._workspaces.of_chat(target.chat_id).sender


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, which is by an error; then end the others."""
    tasks = [asyncio.create_task(each, name=f"slack {number}") for number, each in enumerate(work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            await ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
