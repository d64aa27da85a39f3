"""Answers to interactions: the first one, and what follows it with the interaction's token.

https://docs.discord.com/developers/interactions/receiving-and-responding
"""

from dataclasses import replace
from http import HTTPStatus

from adapters.testing.discord.accounts import Json
from adapters.testing.discord.composing import Composer, ephemeral
from adapters.testing.discord.errors import ApiError, bad_request, invalid_form, missing_access, unknown
from adapters.testing.discord.interactions import CallbackType, Interaction, InteractionType
from adapters.testing.discord.mentions import INTERACTIONS
from adapters.testing.discord.message import Content, Message, MessageFlags, MessageType
from adapters.testing.discord.method import Call, Reply, Result, Route
from adapters.testing.discord.shapes import mapping, whole

ORIGINAL = "@original"
SHOWN = frozenset({CallbackType.CHANNEL_MESSAGE_WITH_SOURCE, CallbackType.UPDATE_MESSAGE})
"""The answers whose message is shown in return."""


def interaction_callback(call: Call) -> Result:
    """The first answer; it comes in time, and once."""
    interaction = call.world.interactions.get(call.request.ids["interaction_token"])
    if interaction is None or interaction.id != call.request.id("interaction_id"):
        raise unknown("interaction")
    if interaction.answered is not None:
        raise bad_request(40060, "Interaction has already been acknowledged.")
    if call.settings.monotonic() - interaction.at > call.settings.answer_seconds:
        raise unknown("interaction")
    body = call.request.object()
    try:
        kind = CallbackType(whole("type", body.get("type")))
    except ValueError:
        raise invalid_form("type", "BASE_TYPE_CHOICES", "Value is not a valid interaction callback type") from None
    data = mapping("data", body.get("data"))
    _answer(call, interaction, kind, data)
    interaction.answered = kind
    call.world.changes.note()
    if not call.request.flag("with_response"):
        return None
    return _response(call, interaction, kind, ephemeral(data))


def _answer(call: Call, interaction: Interaction, kind: CallbackType, data: Json) -> None:
    match kind:
        case CallbackType.CHANNEL_MESSAGE_WITH_SOURCE:
            content = _composer(call, interaction).compose(data, call.request.uploads)
            interaction.response = _post(call, interaction, content, hidden=ephemeral(data))
        case CallbackType.DEFERRED_CHANNEL_MESSAGE_WITH_SOURCE:
            loading = Content(flags=MessageFlags.LOADING)
            interaction.response = _post(call, interaction, loading, hidden=ephemeral(data))
        case CallbackType.DEFERRED_UPDATE_MESSAGE | CallbackType.UPDATE_MESSAGE:
            if interaction.message is None:
                raise invalid_form("type", "INTERACTION_TYPE_INVALID", "There is no message to update")
            interaction.response = interaction.message
            if kind is CallbackType.UPDATE_MESSAGE:
                changed = _composer(call, interaction).change(interaction.message, data, call.request.uploads)
                call.world.revise(interaction.message, changed)
        case CallbackType.MODAL | CallbackType.APPLICATION_COMMAND_AUTOCOMPLETE_RESULT:
            if kind is CallbackType.MODAL and interaction.type is InteractionType.MODAL_SUBMIT:
                raise invalid_form("type", "INTERACTION_TYPE_INVALID", "A form cannot be answered with a form")
            interaction.shown = data
        case CallbackType.PONG:
            raise invalid_form("type", "INTERACTION_TYPE_INVALID", "There was no ping")


def _response(call: Call, interaction: Interaction, kind: CallbackType, hidden: bool) -> Json:
    """https://docs.discord.com/developers/interactions/receiving-and-responding#interaction-callback"""
    message = interaction.response
    shown: Json = {"id": str(interaction.id), "type": int(interaction.type)}
    if message is not None:
        shown["response_message_id"] = str(message.id)
        shown["response_message_loading"] = MessageFlags.LOADING in message.flags
        shown["response_message_ephemeral"] = hidden
    if message is None or kind not in SHOWN:
        return {"interaction": shown}
    return {"interaction": shown, "resource": {"type": int(kind), "message": _show(call, interaction, message)}}


def create_followup(call: Call) -> Reply:
    """A further message; the first one after a deferral fills the message that waits."""
    interaction = _of_token(call)
    body = call.request.object()
    content = _composer(call, interaction).compose(body, call.request.uploads)
    waiting = interaction.response
    if waiting is not None and MessageFlags.LOADING in waiting.flags and waiting.deleted_at is None:
        call.world.revise(waiting, content)
        message = waiting
    else:
        message = _post(call, interaction, content, hidden=ephemeral(body))
        interaction.followups.append(message)
    return Reply(200, _show(call, interaction, message))


def get_followup(call: Call) -> Json:
    """The first answer, or a later one."""
    interaction = _of_token(call)
    return _show(call, interaction, _message(call, interaction))


def edit_followup(call: Call) -> Json:
    """Change the first answer, or a later one; a deferred one is filled by it."""
    interaction = _of_token(call)
    message = _message(call, interaction)
    content = _composer(call, interaction).change(message, call.request.object(), call.request.uploads)
    call.world.revise(message, replace(content, flags=content.flags & ~MessageFlags.LOADING))
    return _show(call, interaction, message)


def delete_followup(call: Call) -> None:
    """Delete the first answer, or a later one."""
    interaction = _of_token(call)
    call.world.delete(_message(call, interaction))


def _of_token(call: Call) -> Interaction:
    interaction = call.world.interactions.get(call.request.ids["webhook_token"])
    if interaction is None or call.request.id("webhook_id") != interaction.bot.id:
        raise unknown("Webhook")
    if call.settings.monotonic() - interaction.at > call.settings.token_seconds:
        raise ApiError(HTTPStatus.UNAUTHORIZED, 50027, "Invalid Webhook Token")
    if interaction.answered is None:
        raise unknown("Webhook")
    return interaction


def _message(call: Call, interaction: Interaction) -> Message:
    name = call.request.ids["message_id"]
    candidates = [*interaction.followups]
    if interaction.response is not None:
        candidates.append(interaction.response)
    if name == ORIGINAL:
        found = interaction.response
    else:
        found = next((each for each in candidates if str(each.id) == name), None)
    if found is None or found.deleted_at is not None:
        raise unknown("Message")
    return found


def _composer(call: Call, interaction: Interaction) -> Composer:
    if interaction.channel.deleted:
        raise missing_access()
    return Composer(call.world, interaction.bot, interaction.channel, INTERACTIONS, free=True)


def _post(call: Call, interaction: Interaction, content: Content, *, hidden: bool) -> Message:
    command = interaction.type is InteractionType.APPLICATION_COMMAND
    first = interaction.response is None
    return call.world.post(
        interaction.channel,
        interaction.bot.user,
        content,
        type_=MessageType.CHAT_INPUT_COMMAND if command and first else MessageType.DEFAULT,
        interaction=interaction.metadata(),
        ephemeral_for=interaction.user.id if hidden else None,
        reply_to=None if command and first else interaction.response or interaction.message,
    )


def _show(call: Call, interaction: Interaction, message: Message) -> Json:
    return call.world.view.shown(message, interaction.bot, reads_content=True)


FOLLOWUPS = "/webhooks/{webhook_id}/{webhook_token}"
ONE = FOLLOWUPS + "/messages/{message_id}"
ROUTES = (
    Route(
        "interaction_callback",
        "POST",
        "/interactions/{interaction_id}/{interaction_token}/callback",
        interaction_callback,
        open_=True,
    ),
    Route("create_followup", "POST", FOLLOWUPS, create_followup, open_=True),
    Route("get_followup", "GET", ONE, get_followup, open_=True),
    Route("edit_followup", "PATCH", ONE, edit_followup, open_=True),
    Route("delete_followup", "DELETE", ONE, delete_followup, open_=True),
)
