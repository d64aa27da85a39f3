"""The methods about the bot itself: who it is, its updates, its menus of commands, its files, its session."""

import json
import re
from collections.abc import Mapping

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.errors import bad_request, conflict
from adapters.testing.telegram.files import file_object
from adapters.testing.telegram.method import Call, Method
from adapters.testing.telegram.updates import MAX_LIMIT, WEBHOOK_SET, UpdateQueue, Webhook

COMMAND = re.compile(r"[a-z0-9_]{1,32}")
MAX_DESCRIPTION = 256
"""Characters (https://core.telegram.org/bots/api#botcommand)."""
MAX_COMMANDS = 100
"""https://core.telegram.org/bots/api#setmycommands"""
SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""https://core.telegram.org/bots/api#setwebhook"""


def get_me(call: Call) -> Json:
    """https://core.telegram.org/bots/api#getme"""
    return call.request.bot.me()


def _queue(call: Call) -> UpdateQueue:
    return call.world.queues[call.request.bot.id]


async def get_updates(call: Call) -> list[Json]:
    """https://core.telegram.org/bots/api#getupdates"""
    request, queue = call.request, _queue(call)
    queue.allow(request.object("allowed_updates"))
    limit = request.integer("limit", MAX_LIMIT) or MAX_LIMIT
    return await queue.get(request.integer("offset", 0) or 0, limit, request.integer("timeout", 0) or 0)


async def set_webhook(call: Call) -> bool:
    """https://core.telegram.org/bots/api#setwebhook; http addresses are taken, as a local server does."""
    request, queue = call.request, _queue(call)
    url = request.text("url")
    if url and not url.startswith(("http://", "https://")):
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    secret = request.text("secret_token") or None
    if secret is not None and not SECRET.fullmatch(secret):
        raise bad_request("secret token contains unallowed characters")
    if request.flag("drop_pending_updates"):
        queue.drop()
    queue.allow(request.object("allowed_updates"))
    queue.end_poll(conflict(WEBHOOK_SET))
    webhook = Webhook(url, secret, request.integer("max_connections", 40) or 40) if url else None
    await call.world.webhooks.set(request.bot.id, queue, webhook)
    return True


async def delete_webhook(call: Call) -> bool:
    """https://core.telegram.org/bots/api#deletewebhook"""
    if call.request.flag("drop_pending_updates"):
        _queue(call).drop()
    await call.world.webhooks.set(call.request.bot.id, _queue(call), None)
    return True


def get_webhook_info(call: Call) -> Json:
    """https://core.telegram.org/bots/api#getwebhookinfo"""
    queue = _queue(call)
    webhook = queue.webhook or Webhook("")
    info: Json = {
        "url": webhook.url,
        "has_custom_certificate": False,
        "pending_update_count": len(queue.waiting),
    }
    if webhook.url:
        info |= {"max_connections": webhook.max_connections, "ip_address": "127.0.0.1"}
    if webhook.error is not None:
        info |= {"last_error_date": webhook.error_at, "last_error_message": webhook.error}
    return info | ({"allowed_updates": sorted(queue.allowed)} if queue.allowed is not None else {})


def _menu(call: Call) -> tuple[int, str, str]:
    scope = call.request.object("scope") or {"type": "default"}
    return call.request.bot.id, json.dumps(scope, sort_keys=True), call.request.text("language_code")


def _command(raw: Json) -> Json:
    name = str(raw.get("command", "")).removeprefix("/")
    description = str(raw.get("description", ""))
    if not COMMAND.fullmatch(name):
        raise bad_request("BOT_COMMAND_INVALID")
    if not 1 <= len(description) <= MAX_DESCRIPTION:
        raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": name, "description": description}


def set_my_commands(call: Call) -> bool:
    """https://core.telegram.org/bots/api#setmycommands"""
    commands = call.request.objects("commands")
    if len(commands) > MAX_COMMANDS:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    call.world.commands[_menu(call)] = [_command(each) for each in commands]
    call.world.changes.note()
    return True


def get_my_commands(call: Call) -> list[Json]:
    """https://core.telegram.org/bots/api#getmycommands"""
    return call.world.commands.get(_menu(call), [])


def delete_my_commands(call: Call) -> bool:
    """https://core.telegram.org/bots/api#deletemycommands"""
    call.world.commands.pop(_menu(call), None)
    return True


def get_file(call: Call) -> Json:
    """https://core.telegram.org/bots/api#getfile"""
    return file_object(call.world.files.get(call.request.text("file_id")))


def log_out(call: Call) -> bool:
    """https://core.telegram.org/bots/api#logout; afterwards this server answers 400."""
    call.world.logged_out.add(call.request.bot.id)
    return True


def close(call: Call) -> bool:
    """https://core.telegram.org/bots/api#close; the next request begins anew."""
    _queue(call).end_poll(conflict("terminated by close request"))
    return True


METHODS: Mapping[str, Method] = {
    "getMe": get_me,
    "getUpdates": get_updates,
    "setWebhook": set_webhook,
    "deleteWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    "getFile": get_file,
    "logOut": log_out,
    "close": close,
}
