"""Owns the section `tools`: what agents may do with the sessions of the person whom they work for."""

from pydantic import Field

from config.fields import Float, Int, Section


class ToolsConfig(Section):
    """How far, and how long, sessions write to each other."""

    max_depth: Int = Field(
        default=5,
        ge=0,
        description="How often a message may be passed on from session to session by agents; 0: no session writes to"
        " another.",
    )
    wait_seconds: Float = Field(
        default=120.0,
        ge=0,
        description="Seconds that an agent waits for the answer of a session that it has written to; the answer is"
        " written there all the same.",
    )
