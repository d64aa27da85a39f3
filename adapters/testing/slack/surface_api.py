"""Methods about what an app shows beside messages: the pane of an assistant, windows and the home tab."""

from typing import Final

from adapters.testing.slack.accounts import Json
from adapters.testing.slack.blocks import MAX_VIEW_BLOCKS, check_blocks
from adapters.testing.slack.channel import AssistantThread, Channel, Status
from adapters.testing.slack.errors import ApiError, missing_argument
from adapters.testing.slack.method import Call, Rule

STATUS_LIFE: Final = 120.0
"""Seconds after which a status goes away (https://docs.slack.dev/reference/methods/assistant.threads.setStatus)."""
MAX_LOADING: Final = 10
MAX_PROMPTS: Final = 4
"""https://docs.slack.dev/reference/methods/assistant.threads.setSuggestedPrompts"""
TRIGGER_LIFE: Final = 3.0
"""Seconds in which a `trigger_id` opens a window (https://docs.slack.dev/interactivity/handling-user-interaction)."""


def set_status(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/assistant.threads.setStatus; it works in any thread."""
    channel, thread_ts = _thread(call)
    if "status" not in call.request.parameters:
        raise missing_argument("status")
    loading = call.request.words("loading_messages")
    if len(loading) > MAX_LOADING:
        raise ApiError("invalid_arguments")
    now = call.world.clock()
    channel.clear_status(thread_ts, now)
    channel.statuses.append(Status(thread_ts, call.request.text("status"), tuple(loading), now))
    call.world.changes.note()
    return {}


def set_prompts(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/assistant.threads.setSuggestedPrompts"""
    pane = _pane(call)
    prompts = call.request.objects("prompts")
    if not prompts:
        raise missing_argument("prompts")
    if len(prompts) > MAX_PROMPTS or any(not each.get("title") or not each.get("message") for each in prompts):
        raise ApiError("invalid_arguments")
    pane.prompts, pane.prompts_title = prompts, call.request.text("title") or None
    call.world.changes.note()
    return {}


def set_title(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/assistant.threads.setTitle"""
    pane = _pane(call)
    pane.title = call.request.needed("title")
    call.world.changes.note()
    return {}


def open_view(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/views.open"""
    trigger = call.request.needed("trigger_id")
    until = call.world.triggers.pop(trigger, None)
    if until is None:
        raise ApiError("invalid_trigger_id")
    if call.world.monotonic() > until:
        raise ApiError("expired_trigger_id")
    return {"view": _new_view(call, "modal")}


def publish_view(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/views.publish"""
    user = call.request.needed("user_id")
    if user not in call.world.profiles:
        raise ApiError("user_not_found")
    return {"view": _new_view(call, "home") | {"user_id": user}}


def update_view(call: Call) -> Json:
    """https://docs.slack.dev/reference/methods/views.update"""
    known = call.world.views.get(call.request.needed("view_id"))
    if known is None:
        raise ApiError("not_found")
    known |= _read_view(call, str(known["type"]))
    call.world.changes.note()
    return {"view": known}


def _thread(call: Call) -> tuple[Channel, str]:
    channel = call.channel("channel_id")
    root = channel.root(call.request.needed("thread_ts"))
    if root is None:
        raise ApiError("invalid_thread_ts")
    return channel, root.ts


def _pane(call: Call) -> AssistantThread:
    channel, thread_ts = _thread(call)
    pane = channel.pane(thread_ts)
    if pane is None:
        raise ApiError("invalid_thread_ts")
    return pane


def _new_view(call: Call, kind: str) -> Json:
    number = f"V{call.world.serial('view'):08d}"
    view: Json = {"id": number, "team_id": call.bot.team.id, "app_id": call.bot.app.id, "bot_id": call.bot.bot_id}
    view |= _read_view(call, kind)
    call.world.views[number] = view
    call.world.changes.note()
    return view


def _read_view(call: Call, kind: str) -> Json:
    value = call.request.object("view")
    if not isinstance(value, dict) or value.get("type") != kind:
        raise ApiError("invalid_arguments", messages=["[ERROR] invalid view [json-pointer:/view]"])
    blocks = check_blocks(value.get("blocks"), limit=MAX_VIEW_BLOCKS, error="invalid_arguments")
    return value | {"blocks": list(blocks)}


METHODS: Final = {
    "assistant.threads.setStatus": Rule(set_status, ("assistant:write", "chat:write"), tier=4),
    "assistant.threads.setSuggestedPrompts": Rule(set_prompts, ("assistant:write",)),
    "assistant.threads.setTitle": Rule(set_title, ("assistant:write",)),
    "views.open": Rule(open_view, tier=4),
    "views.publish": Rule(publish_view, tier=4),
    "views.update": Rule(update_view, tier=4),
}
