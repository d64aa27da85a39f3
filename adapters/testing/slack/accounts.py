"""Accounts: workspaces, people, apps, and an app's place in a workspace."""

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
"""One object of Slack's APIs."""

BOT_SCOPES: Final = frozenset(
    {
        "app_mentions:read", "assistant:write", "channels:history", "channels:join", "channels:read", "chat:write",
        "commands", "files:read", "files:write", "groups:history", "groups:read", "im:history", "im:read", "im:write",
        "mpim:history", "mpim:read", "mpim:write", "reactions:read", "reactions:write", "users:read",
    }
)  # fmt: skip
"""What an app is granted here unless a test says otherwise (https://docs.slack.dev/reference/scopes)."""

BOT_EVENTS: Final = frozenset(
    {
        "app_home_opened", "app_mention", "app_uninstalled", "assistant_thread_context_changed",
        "assistant_thread_started", "channel_archive", "channel_rename", "channel_unarchive", "file_shared",
        "member_joined_channel", "member_left_channel", "message.channels", "message.groups", "message.im",
        "message.mpim", "reaction_added", "reaction_removed", "tokens_revoked",
    }
)  # fmt: skip
"""The events that an app is subscribed to here unless a test says otherwise
(https://docs.slack.dev/reference/events)."""


@dataclass(slots=True, eq=False)
class Team:
    """One workspace."""

    id: str
    name: str
    domain: str
    edit_window: float | None = None
    """Seconds in which a message may be edited, where the workspace limits that; None: for ever."""


@dataclass(slots=True, eq=False)
class Profile:
    """One user of a workspace, a person or an app's bot user (https://docs.slack.dev/reference/objects/user-object)."""

    id: str
    team: Team
    name: str
    bot_id: str | None = None
    app_id: str | None = None

    @property
    def is_bot(self) -> bool:
        """Whether it is a bot user."""
        return self.bot_id is not None

    @property
    def mention(self) -> str:
        """The name as people type it to mention the user."""
        return f"@{self.name}"

    def user(self) -> Json:
        """The `user` object."""
        profile: Json = {"real_name": self.name, "display_name": self.name, "team": self.team.id}
        if self.is_bot:
            profile |= {"api_app_id": self.app_id, "bot_id": self.bot_id}
        return {
            "id": self.id,
            "team_id": self.team.id,
            "name": self.name.lower(),
            "real_name": self.name,
            "deleted": False,
            "tz": "Europe/Amsterdam",
            "tz_offset": 3600,
            "profile": profile,
            "is_bot": self.is_bot,
            "is_app_user": False,
            "is_restricted": False,
            "updated": 0,
        }

    def bot_profile(self) -> Json:
        """The object that stands for a bot in messages."""
        return {
            "id": self.bot_id,
            "app_id": self.app_id,
            "user_id": self.id,
            "name": self.name,
            "deleted": False,
            "updated": 0,
            "icons": {},
            "team_id": self.team.id,
        }


@dataclass(slots=True, eq=False)
class App:
    """An app as its owner has set it up (https://docs.slack.dev/reference/app-manifest)."""

    id: str
    name: str
    token: str
    """The app-level token (`xapp-…`) that opens connections of Socket Mode."""
    secret: str
    """The signing secret."""
    verification: str
    """The verification token, which old apps compared instead of a signature."""
    commands: set[str] = field(default_factory=set)
    """Its slash commands, with the slash."""
    events: set[str] = field(default_factory=lambda: set(BOT_EVENTS))
    """The events it is subscribed to; those of messages by the kind of channel, as `message.im`."""
    socket_mode: bool = True
    """Whether events come over Socket Mode; otherwise they are posted to its addresses."""


@dataclass(slots=True, eq=False)
class Bot:
    """An app as it is installed in one workspace."""

    app: App
    profile: Profile
    token: str
    scopes: set[str] = field(default_factory=lambda: set(BOT_SCOPES))
    """What the workspace has granted; a method that needs another answers `missing_scope`."""
    failure: str | None = None
    """Why its token is no longer good: `token_revoked`, `account_inactive`."""

    @property
    def id(self) -> str:
        """The id of its user (`U…`), which is mentioned in texts."""
        return self.profile.id

    @property
    def bot_id(self) -> str:
        """The id under which its messages are (`B…`)."""
        return self.profile.bot_id or ""

    @property
    def team(self) -> Team:
        """The workspace."""
        return self.profile.team
