"""Who may talk to the agent, as what, and how much: one place for every platform. Closed by default."""

from gateway.access.decision import (
    Decision,
    Facts,
    Membership,
    Place,
    Role,
    Verdict,
    decide,
    role_of,
)
from gateway.access.gate import Gate, Sender
from gateway.access.people import Member, People, person_of

__all__ = [
    "Decision",
    "Facts",
    "Gate",
    "Member",
    "Membership",
    "People",
    "Place",
    "Role",
    "Sender",
    "Verdict",
    "decide",
    "person_of",
    "role_of",
]
