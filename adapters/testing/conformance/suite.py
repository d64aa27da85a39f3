"""The whole suite, and the promise that nothing is left out of it without need."""

from adapters.testing.conformance.conversation import Conversation
from adapters.testing.conformance.harness import Ability
from adapters.testing.conformance.lifetime import Lifetime
from adapters.testing.conformance.media import Media
from adapters.testing.conformance.people import People
from adapters.testing.conformance.streaming import Streaming
from adapters.testing.conformance.trial import Trial
from adapters.testing.conformance.trouble import Trouble
from gateway.ports import Capabilities


def implied(capabilities: Capabilities) -> dict[Ability, bool]:
    """What a harness has to have, and what it cannot have, where an adapter declares these capabilities."""
    return {
        Ability.THREADS: capabilities.threads,
        Ability.STREAMING: capabilities.edit or capabilities.drafts,
        Ability.SHRINKING: capabilities.edit and capabilities.delete,
        Ability.TYPING: capabilities.typing,
        Ability.BUTTONS: capabilities.buttons,
        Ability.ATTACHMENTS: capabilities.media,
        Ability.FILES: capabilities.media,
        Ability.PARTS: capabilities.max_length is not None,
        Ability.STRANGERS: not capabilities.operator,
    }


class AdapterConformance(Conversation, Streaming, Media, People, Trouble, Lifetime):
    """Every promise. Derive from it, and give a fixture `harness`."""

    async def test_what_is_declared_agrees(self, trial: Trial) -> None:
        """No promise is skipped that the adapter's capabilities make."""
        have = trial.harness.supports
        differ = {
            str(ability): wanted
            for ability, wanted in implied(trial.capabilities).items()
            if wanted is not (ability in have)
        }
        assert differ == {}
