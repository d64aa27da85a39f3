"""A conversation's slot: its identity, made of parts, and the readable session key made from it.

Which parts count:

=====================  ===========================  =======================================================
source                 identity                     readable key, after ``agent:main:<platform>:<chat type>``
=====================  ===========================  =======================================================
DM                     chat, thread                 ``:chat[:thread]``
DM without a chat id   participant, thread          ``[:participant][:thread]``
any other              chat, thread, participant    ``[:chat][:thread][:participant]``
=====================  ===========================  =======================================================

In a DM with a chat id the person is never a part: the chat is the person's already. Elsewhere the person is
a part if `group_sessions_per_user` is on and there is no thread or `thread_sessions_per_user` is on; a webhook
always is one: what a stranger posts is in no conversation of people. The person is `user_id_alt` where there is
one, else `user_id`. An empty id counts as absent.

Two slots can have the same readable key (thread 7 of a group, and person 7 in it); their identities differ.
So identities tell slots apart, and the key is for people, logs and commands.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from gateway.source import SessionSource
from gateway.storage.codec import key_part

DEFAULT_AGENT: Final = "main"

PRIVATE: Final = "private-"
"""How the agent's part of a slot begins that only one session is ever in, and no chat is."""


@dataclass(frozen=True, slots=True, order=True)
class SlotIdentity:
    """The parts that make one conversation slot; an absent part is empty text. Equal parts, same slot."""

    agent: str
    platform: str
    chat_type: str
    chat: str = ""
    thread: str = ""
    participant: str = ""

    @property
    def key(self) -> str:
        """The readable session key. In each part "%" is written %25 and ":" is written %3A."""
        if self.chat_type == "dm":
            place = (self.chat, self.participant, self.thread)
        else:
            place = (self.chat, self.thread, self.participant)
        parts = ("agent", self.agent, self.platform, self.chat_type, *(part for part in place if part))
        return ":".join(key_part(part) for part in parts)

    @property
    def is_private(self) -> bool:
        """Whether it is a session's own slot, which nobody writes in but agents."""
        return self.agent.startswith(PRIVATE)

    def private(self, name: str) -> "SlotIdentity":
        """A slot of its own beside this one, of the same people: the same name, the same slot."""
        return replace(self, agent=PRIVATE + hashlib.sha256(name.encode()).hexdigest()[:24])

    @property
    def is_addressed(self) -> bool:
        """Whether it is one conversation's: it names a chat, or the person whom it belongs to."""
        return bool(self.chat or self.participant)


def slot_identity(
    source: SessionSource,
    group_sessions_per_user: bool = True,
    thread_sessions_per_user: bool = True,
    agent: str = DEFAULT_AGENT,
) -> SlotIdentity:
    """The slot that a message from this source belongs to. Pure: the same source, the same slot."""
    chat, thread = source.chat_id or "", source.thread_id or ""
    person = source.user_id_alt or source.user_id or ""
    if source.chat_type == "dm":
        personal = not chat
    else:
        shared = not group_sessions_per_user or bool(thread and not thread_sessions_per_user)
        personal = not shared or source.is_webhook
    return SlotIdentity(
        agent=agent,
        platform=str(source.platform.value),
        chat_type=source.chat_type,
        chat=chat,
        thread=thread,
        participant=person if personal else "",
    )


def build_session_key(
    source: SessionSource, group_sessions_per_user: bool = True, thread_sessions_per_user: bool = True
) -> str:
    """The readable, deterministic name of the slot that a message from this source belongs to."""
    return slot_identity(source, group_sessions_per_user, thread_sessions_per_user).key
