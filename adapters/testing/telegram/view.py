"""Messages as a bot gets them: the `Message` object of the Bot API."""

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.chat import ChatKind
from adapters.testing.telegram.message import Message

HIDDEN_DATE = 0
"""The date of a message that is not accessible (https://core.telegram.org/bots/api#inaccessiblemessage)."""


def message_object(message: Message, account: int, *, nested: bool = False) -> Json:
    """The message as an account sees it; a nested one shows no reply of its own."""
    chat = message.chat
    result: Json = {"message_id": message.number(account), "date": int(message.sent_at), "chat": chat.object()}
    if message.deleted_at is not None:
        return result | {"date": HIDDEN_DATE}
    if chat.kind is ChatKind.CHANNEL:
        result["sender_chat"] = chat.object()
    else:
        result["from"] = message.sender.user()
    if message.post is not None:
        result |= {"sender_chat": message.post.chat.object(), "is_automatic_forward": True}
    if len(message.versions) > 1:
        result["edit_date"] = int(message.versions[-1].at)
    if message.album is not None:
        result["media_group_id"] = message.album
    result |= _thread(message) | _content(message)
    return result if nested else result | _reply(message, account)


def _content(message: Message) -> Json:
    content = message.content
    if content.service is not None:
        return dict(content.service)
    result: Json = dict(content.media or {})
    text, entities = ("text", "entities") if content.media is None else ("caption", "caption_entities")
    if content.text:
        result[text] = content.text
    if content.entities:
        result[entities] = [dict(entity) for entity in content.entities]
    if content.preview:
        result["link_preview_options"] = content.preview
    if content.markup and "inline_keyboard" in content.markup:
        result["reply_markup"] = content.markup
    return result


def _thread(message: Message) -> Json:
    """A supergroup without topics names the first message of a chain of replies, which is no topic."""
    if message.thread is None:
        return {}
    if message.chat.direct:
        person = message.chat.members[message.thread]
        return {"direct_messages_topic": {"topic_id": message.thread, "user": person.user()}}
    thread: Json = {"message_thread_id": message.thread}
    return thread | ({"is_topic_message": True} if message.thread in message.chat.topics else {})


def _reply(message: Message, account: int) -> Json:
    """In a topic, what answers no message answers the one that made the topic."""
    answered = message.reply_to
    if answered is None and message.thread is not None:
        topic = message.chat.topics.get(message.thread)
        answered = None if topic is None or topic.root is message else topic.root
    if answered is None or answered.deleted_at is not None or answered.number(account) is None:
        return {}
    reply: Json = {"reply_to_message": message_object(answered, account, nested=True)}
    return reply | ({"quote": message.quote} if message.quote else {})
