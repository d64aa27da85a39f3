"""Permissions: the flags, and what a member may do in a channel.

https://docs.discord.com/developers/topics/permissions
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag


class Permission(IntFlag):
    """What a member may do; only what the server looks at."""

    ADMINISTRATOR = 1 << 3
    MANAGE_CHANNELS = 1 << 4
    ADD_REACTIONS = 1 << 6
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    CREATE_PRIVATE_THREADS = 1 << 36
    SEND_MESSAGES_IN_THREADS = 1 << 38
    SEND_VOICE_MESSAGES = 1 << 46


NOTHING = Permission(0)
EVERYTHING = Permission((1 << 53) - 1)
ORDINARY = (
    Permission.ADD_REACTIONS
    | Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.CREATE_PUBLIC_THREADS
    | Permission.CREATE_PRIVATE_THREADS
    | Permission.SEND_MESSAGES_IN_THREADS
    | Permission.SEND_VOICE_MESSAGES
)
"""What everyone may do in a guild where nothing is changed."""


@dataclass(slots=True)
class Overwrite:
    """What a channel allows and denies to one role or one member."""

    target: int
    is_role: bool
    allow: Permission = NOTHING
    deny: Permission = NOTHING


def resolve(
    base: Permission, everyone: int, roles: Iterable[int], member: int, overwrites: list[Overwrite]
) -> Permission:
    """Apply a channel's overwrites: everyone's, then the roles' together, then the member's
    (https://docs.discord.com/developers/topics/permissions#permission-overwrites)."""
    if Permission.ADMINISTRATOR in base:
        return EVERYTHING
    held = set(roles) - {everyone}
    stages = (
        [each for each in overwrites if each.is_role and each.target == everyone],
        [each for each in overwrites if each.is_role and each.target in held],
        [each for each in overwrites if not each.is_role and each.target == member],
    )
    for stage in stages:
        denied = allowed = NOTHING
        for overwrite in stage:
            denied |= overwrite.deny
            allowed |= overwrite.allow
        base = (base & ~denied) | allowed
    return base if Permission.VIEW_CHANNEL in base else NOTHING
