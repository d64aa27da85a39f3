"""What an update becomes: source, thread, who it is for, text, quote."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.base import MediaKind, Quote
from adapters.telegram.normalise import TOO_OLD, Amend, Ignore, Move, Normaliser, Press
from tests.unit.telegram.updates import (
    ANN,
    BOT,
    CHANNEL,
    DIRECT,
    FORUM,
    GROUP,
    PRIVATE,
    SUPERGROUP,
    US,
    Json,
    accepted,
    act,
    message,
)


def quiet() -> Normaliser:
    return Normaliser(US, require_mention=False)


# --- where it comes from -------------------------------------------------------------------------------


def test_private_chat() -> None:
    got = accepted(message(PRIVATE, "hello", message_id=42))
    assert got.source.to_dict() == {
        "platform": "telegram",
        "chat_id": "11",
        "chat_name": "Ann Lee",
        "chat_type": "dm",
        "user_id": "11",
        "user_name": "Ann Lee",
        "thread_id": None,
        "chat_topic": None,
    }
    assert (got.message_id, got.text, got.addressed) == ("42", "hello", True)
    assert got.sent_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert got.update_id is not None


def test_topic_of_a_private_chat() -> None:
    got = accepted(message(PRIVATE, "hello", message_thread_id=5, is_topic_message=True))
    assert (got.source.chat_type, got.source.thread_id) == ("dm", "5")


@pytest.mark.parametrize("chat", [GROUP, SUPERGROUP])
def test_group(chat: Json) -> None:
    source = accepted(message(chat, "@hermes_bot hello")).source
    assert (source.chat_type, source.chat_id, source.chat_name) == ("group", str(chat["id"]), "Team")
    assert (source.user_id, source.thread_id) == ("11", None)


def test_chain_of_replies_is_no_topic() -> None:
    assert accepted(message(SUPERGROUP, "@hermes_bot x", message_thread_id=9)).source.thread_id is None


def chained(root: Json, normaliser: Normaliser | None = None, **fields: Any) -> str | None:
    """Where an answer goes to a message in the chain of replies that this one begins."""
    thread: Json = {"message_thread_id": root["message_id"], "reply_to_message": root}
    got = accepted(message(root["chat"], "/new", message_id=901, **thread | fields), normaliser=normaliser)
    assert got.source.thread_id is None
    return got.reply_thread


POSTED: Json = {"is_automatic_forward": True, "sender_chat": CHANNEL}


def test_answer_to_a_comment_stays_below_the_post() -> None:
    post, comment = message(SUPERGROUP, "news", **POSTED), message(SUPERGROUP, "well")
    assert chained(post) == "below-901"
    assert chained(post, reply_to_message=comment) == "below-901", "nobody knows what it began with"


def test_answer_to_a_comment_that_waits_for_a_button_stays_too() -> None:
    post, normaliser = message(SUPERGROUP, "news", **POSTED), quiet()
    shown = message(SUPERGROUP, "May I?", message_thread_id=post["message_id"], reply_to_message=post)
    query = {"id": "5", "from": ANN, "chat_instance": "x", "data": "/approve", "message": shown}
    pressed = act(query, "callback_query", normaliser)
    assert isinstance(pressed, Press)
    assert pressed.message is not None
    assert pressed.message.reply_thread == f"below-{shown['message_id']}"


def test_chain_of_replies_in_a_group_is_no_place() -> None:
    began, reply = message(SUPERGROUP, "@hermes_bot x"), message(SUPERGROUP, "y", **{"from": BOT})
    assert chained(began) is None
    normaliser = quiet()
    act(began, normaliser=normaliser)
    assert chained(began, normaliser, reply_to_message=reply) is None
    assert accepted(message(SUPERGROUP, "/new")).reply_thread is None
    assert accepted(message(FORUM, "/new", message_thread_id=3, reply_to_message=reply)).reply_thread is None


def test_forum_topic_with_its_name() -> None:
    root = message(FORUM, message_id=5, message_thread_id=5, forum_topic_created={"name": "Plans", "icon_color": 1})
    got = accepted(message(FORUM, "/new", message_thread_id=5, is_topic_message=True, reply_to_message=root))
    assert (got.source.chat_type, got.source.thread_id, got.source.chat_topic) == ("group", "5", "Plans")
    assert got.quote is None


def test_renamed_topic() -> None:
    normaliser = Normaliser(US, require_mention=True)
    topic: Json = {"message_thread_id": 5, "is_topic_message": True}
    act(message(FORUM, **topic, forum_topic_created={"name": "Plans", "icon_color": 1}), normaliser=normaliser)
    assert accepted(message(FORUM, "/new", **topic), normaliser=normaliser).source.chat_topic == "Plans"
    act(message(FORUM, **topic, forum_topic_edited={"name": "Deeds"}), normaliser=normaliser)
    assert accepted(message(FORUM, "/new", **topic), normaliser=normaliser).source.chat_topic == "Deeds"


def test_general_topic() -> None:
    assert accepted(message(FORUM, "/new")).source.thread_id == "1"


def test_topic_of_a_channels_direct_messages() -> None:
    topic: Json = {"direct_messages_topic": {"topic_id": 11, "user": ANN}}
    got = accepted(message(DIRECT, "/new", message_id=7, **topic))
    assert (got.source.chat_type, got.source.thread_id, got.reply_thread) == ("group", "direct-11", None)
    shown = message(DIRECT, "May I?", **topic, **{"from": BOT})
    query = {"id": "5", "from": ANN, "chat_instance": "x", "data": "/approve"}
    pressed = act(query | {"message": shown}, "callback_query")
    assert isinstance(pressed, Press)
    assert pressed.message is not None
    assert pressed.message.source.thread_id == "direct-11"
    assert act(query | {"message": {"message_id": 5, "date": 0, "chat": DIRECT}}, "callback_query") == Press(
        "5", None, TOO_OLD.format("/approve")
    )


def test_channel_post() -> None:
    source = accepted(message(CHANNEL, "@hermes_bot x"), "channel_post").source
    assert (source.chat_type, source.chat_id, source.user_id) == ("channel", "-1007", None)


def test_anonymous_administrator_is_the_group() -> None:
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    got = accepted(message(GROUP, "/new", **{"from": anonymous}, sender_chat=GROUP))
    assert (got.source.user_id, got.source.user_name) == ("-5", "Team")


# --- who it is for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", [GROUP, SUPERGROUP, FORUM])
@pytest.mark.parametrize(
    ("text", "addressed"),
    [
        ("hello all", False),
        ("@hermes_bot hello", True),
        ("what does @Hermes_Bot say", True),
        ("@hermes_bots hello", False),
        ("@other_bot hello", False),
        ("/new", True),
        ("/new@hermes_bot", True),
        ("say /new", False),
    ],
)
def test_addressed_in_groups(chat: Json, text: str, addressed: bool) -> None:
    assert accepted(message(chat, text)).addressed is addressed


def test_everything_is_for_us_without_mentions() -> None:
    assert accepted(message(GROUP, "hello all"), normaliser=quiet()).addressed
    assert accepted(message(CHANNEL, "news"), "channel_post", quiet()).addressed
    assert not accepted(message(CHANNEL, "news"), "channel_post").addressed


def test_mention_of_an_account_without_a_username() -> None:
    entity = {"type": "text_mention", "offset": 0, "length": 6, "user": BOT}
    got = accepted(message(GROUP, "Hermes, hello", entities=[entity]))
    assert got.addressed
    assert got.text == "hello"
    other = entity | {"user": ANN}
    assert not accepted(message(GROUP, "Hermes, hello", entities=[other])).addressed


def test_reply_to_us_is_for_us() -> None:
    ours = message(GROUP, "the answer", **{"from": BOT})
    got = accepted(message(GROUP, "why?", reply_to_message=ours))
    assert got.addressed
    assert got.quote == Quote("the answer", "Hermes", ours=True, message_id=str(ours["message_id"]))


def test_topic_that_we_made_is_not_addressed_to_us() -> None:
    root = message(FORUM, None, **{"from": BOT}, message_id=5, forum_topic_created={"name": "P", "icon_color": 1})
    got = accepted(message(FORUM, "hi", message_thread_id=5, is_topic_message=True, reply_to_message=root))
    assert not got.addressed


def test_album_is_for_us_as_a_whole() -> None:
    normaliser = Normaliser(US, require_mention=True)
    photo = [{"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}]
    album: Json = {"photo": photo, "media_group_id": "9"}
    before = accepted(message(GROUP, **album | {"media_group_id": "8"}), normaliser=normaliser)
    first = accepted(message(GROUP, caption="@hermes_bot look", **album), normaliser=normaliser)
    second = accepted(message(GROUP, **album), normaliser=normaliser)
    assert (before.addressed, first.addressed, second.addressed) == (False, True, True)
    assert (first.group_id, second.group_id, first.text, second.text) == ("9", "9", "look", "")


def test_command_for_another_bot() -> None:
    assert isinstance(act(message(GROUP, "/new@other_bot")), Ignore)
    # In private there is nobody else whom it can be for.
    assert accepted(message(PRIVATE, "/new@other_bot")).text == "/new@other_bot"


def test_another_bot_s_message_says_that_it_is_one() -> None:
    bot, person = message(GROUP, "hi", **{"from": BOT | {"id": 8, "username": "other_bot"}}), message(GROUP, "hi")
    assert accepted(bot).from_bot
    assert not accepted(person).from_bot


@pytest.mark.parametrize(
    "content",
    [
        message(GROUP, "hi", **{"from": BOT}),
        message(GROUP, "hi", via_bot=BOT),
        message(GROUP, "hi", sender_chat=CHANNEL, is_automatic_forward=True),
        message(GROUP, new_chat_members=[ANN]),
        message(GROUP, left_chat_member=ANN),
        message(GROUP, new_chat_title="x"),
        message(GROUP, pinned_message=message(GROUP, "x")),
        message(FORUM, forum_topic_closed={}, message_thread_id=5, is_topic_message=True),
    ],
)
def test_nothing_to_answer(content: Json) -> None:
    assert isinstance(act(content), Ignore)


# --- what it says --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("@hermes_bot, do it", "do it"),
        ("@hermes_bot: do it", "do it"),
        ("@hermes_bot", "@hermes_bot"),
        ("do it @hermes_bot", "do it @hermes_bot"),
        ("@hermes_bot /new", "/new"),
        ("/new@hermes_bot now", "/new now"),
        ("@ann @hermes_bot x", "@ann @hermes_bot x"),
    ],
)
def test_our_name_is_taken_off(text: str, read: str) -> None:
    assert accepted(message(GROUP, text)).text == read


@pytest.mark.parametrize("length", [11, 16])
def test_our_name_is_taken_off_however_it_looks(length: int) -> None:
    name = {"type": "mention", "offset": 0, "length": 11}
    entities = [{"type": "bold", "offset": 0, "length": length}, name]
    assert accepted(message(GROUP, "@hermes_bot /new", entities=entities)).text == "/new"


def test_addresses_behind_words_are_read() -> None:
    text = "😀 see this and that"
    entities = [
        {"type": "text_link", "offset": 7, "length": 4, "url": "https://a.example/x"},
        {"type": "bold", "offset": 12, "length": 3},
        {"type": "text_link", "offset": 16, "length": 4, "url": "https://b.example/"},
    ]
    got = accepted(message(PRIVATE, text, entities=entities))
    assert got.text == "😀 see this (https://a.example/x) and that (https://b.example/)"


def test_half_a_character_is_no_reason_to_lose_a_message() -> None:
    entities = [{"type": "text_link", "offset": 2, "length": 1, "url": "https://a.example/"}]
    assert accepted(message(PRIVATE, "\ud800 a", entities=entities)).text == "\ud800 a (https://a.example/)"


def test_forwarded_message_says_so() -> None:
    origin = {"type": "hidden_user", "sender_user_name": "Bob", "date": 1}
    assert accepted(message(PRIVATE, "/new", forward_origin=origin)).text == "[forwarded from Bob]\n/new"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"location": {"latitude": 1.5, "longitude": 2}}, "[location: latitude 1.500000, longitude 2.000000]"),
        (
            {
                "location": {"latitude": 1, "longitude": 2},
                "venue": {"location": {"latitude": 1, "longitude": 2}, "title": "Café", "address": "Lane 1"},
            },
            "[place: Café, Lane 1 (latitude 1.000000, longitude 2.000000)]",
        ),
        ({"contact": {"phone_number": "+1", "first_name": "Bo", "last_name": "Li"}}, "[contact: Bo Li, +1]"),
        ({"dice": {"emoji": "🎲", "value": 4}}, "[🎲 shows 4]"),
        ({"story": {"chat": PRIVATE, "id": 1}}, "[a story, which bots cannot see]"),
        ({"hologram": {"depth": 3}}, "[something of a kind that is not known here: hologram]"),
        ({}, "[a message of a kind that Telegram does not show to bots]"),
    ],
)
def test_other_kinds_are_told_in_words(fields: Json, text: str) -> None:
    assert accepted(message(PRIVATE, **fields)).text == text


def test_poll_in_words() -> None:
    option = {"voter_count": 0, "persistent_id": "1", "added_at": 1}
    poll = {
        "id": "1",
        "question": "Tea?",
        "options": [{"text": "yes"} | option, {"text": "no"} | option],
        "total_voter_count": 0,
        "is_closed": False,
        "is_anonymous": True,
        "type": "regular",
        "allows_multiple_answers": False,
        "allows_revoting": False,
        "shuffle_options": False,
        "allow_adding_options": False,
        "hide_results_until_closes": False,
        "members_only": False,
    }
    assert accepted(message(PRIVATE, poll=poll)).text == "[poll: Tea?\n- yes\n- no]"


def test_checklist_in_words() -> None:
    tasks = [{"id": 1, "text": "milk", "completion_date": 0}, {"id": 2, "text": "tea", "completion_date": 5}]
    got = accepted(message(PRIVATE, checklist={"title": "To buy", "tasks": tasks}))
    assert got.text == "[checklist: To buy\n- milk\n- tea (done)]"


@pytest.mark.parametrize("kind", ["game", "invoice"])
def test_what_has_a_title_is_told_by_it(kind: str) -> None:
    price: Json = {"start_parameter": "x", "currency": "EUR", "total_amount": 500}
    held: Json = {"title": "Chess", "description": "with clocks"} | (price if kind == "invoice" else {"photo": []})
    fields: Json = {kind: held}
    assert accepted(message(PRIVATE, **fields)).text == f"[{kind}: Chess, with clocks]"


def test_live_photo_is_a_photo_and_a_film() -> None:
    photo = [{"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1}]
    live = {"file_id": "f", "file_unique_id": "f", "width": 1, "height": 1, "duration": 2, "photo": photo}
    got = accepted(message(PRIVATE, photo=photo, live_photo=live, caption="look"))
    assert [(each.kind, each.id) for each in got.attachments] == [(MediaKind.IMAGE, "p"), (MediaKind.VIDEO, "f")]
    assert got.text == "look"


def test_partial_quote_and_media() -> None:
    photo = [{"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}]
    answered = message(PRIVATE, "one two three")
    part = accepted(message(PRIVATE, "?", reply_to_message=answered, quote={"text": "two", "position": 4}))
    assert part.quote is not None
    assert (part.quote.text, part.quote.author, part.quote.ours) == ("two", "Ann Lee", False)
    captioned = accepted(message(PRIVATE, "?", reply_to_message=message(PRIVATE, photo=photo, caption="sea")))
    assert captioned.quote is not None
    assert captioned.quote.text == "sea"
    bare = accepted(message(PRIVATE, "?", reply_to_message=message(PRIVATE, photo=photo)))
    assert bare.quote is not None
    assert bare.quote.text == "[a photo]"


def test_reply_to_another_chat() -> None:
    external = {"origin": {"type": "channel", "chat": CHANNEL, "message_id": 3, "date": 1}, "message_id": 3}
    got = accepted(message(PRIVATE, "?", external_reply=external, quote={"text": "headline", "position": 0}))
    assert got.quote == Quote("headline", "News", message_id="3")


# --- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind", "name", "media_type"),
    [
        ({"voice": {"duration": 1}}, MediaKind.VOICE, None, "audio/ogg"),
        ({"audio": {"duration": 1, "file_name": "a.mp3"}}, MediaKind.AUDIO, "a.mp3", "audio/mpeg"),
        ({"video": {"duration": 1, "width": 1, "height": 1}}, MediaKind.VIDEO, None, "video/mp4"),
        ({"video_note": {"duration": 1, "length": 1}}, MediaKind.VIDEO, None, "video/mp4"),
        (
            {"document": {"file_name": "a.pdf", "mime_type": "application/pdf"}},
            MediaKind.DOCUMENT,
            "a.pdf",
            "application/pdf",
        ),
    ],
)
def test_files(fields: Json, kind: MediaKind, name: str | None, media_type: str) -> None:
    file = {"file_id": "f", "file_unique_id": "u", "file_size": 5}
    got = accepted(message(PRIVATE, **{key: value | file for key, value in fields.items()}))
    (attachment,) = got.attachments
    assert (attachment.kind, attachment.id, attachment.size) == (kind, "f", 5)
    assert (attachment.name, attachment.media_type, got.text) == (name, media_type, "")


def test_largest_photo_and_caption() -> None:
    sizes = [{"file_id": f"f{size}", "file_unique_id": "u", "width": size, "height": size} for size in (90, 800, 320)]
    got = accepted(message(PRIVATE, photo=sizes, caption="the sea"))
    assert [(each.kind, each.id) for each in got.attachments] == [(MediaKind.IMAGE, "f800")]
    assert got.text == "the sea"


def test_animation_is_one_file() -> None:
    file = {"file_id": "f", "file_unique_id": "u"}
    animation = file | {"width": 1, "height": 1, "duration": 1}
    (attachment,) = accepted(message(PRIVATE, animation=animation, document=file)).attachments
    assert attachment.kind is MediaKind.VIDEO


def test_sticker_is_its_emoji_and_a_file() -> None:
    sticker = {
        "file_id": "f", "file_unique_id": "u", "type": "regular", "width": 1, "height": 1,
        "is_animated": True, "is_video": False, "emoji": "👍",
    }  # fmt: skip
    got = accepted(message(PRIVATE, sticker=sticker))
    (attachment,) = got.attachments
    assert (got.text, attachment.kind) == ("👍", MediaKind.STICKER)
    assert attachment.media_type == "application/x-tgsticker"


# --- what is no message --------------------------------------------------------------------------------


def test_edit_is_told() -> None:
    got = act(message(PRIVATE, "better", edit_date=1_790_000_001), "edited_message")
    assert isinstance(got, Amend)
    assert got.message.text == "better"


def test_moving_place_is_no_edit() -> None:
    place = {"latitude": 1, "longitude": 2, "live_period": 60}
    assert isinstance(act(message(PRIVATE, location=place, edit_date=1), "edited_message"), Ignore)


def test_group_becomes_supergroup() -> None:
    assert act(message(GROUP, migrate_to_chat_id=-1005)) == Move("-5", "-1005")
    assert act(message(SUPERGROUP, migrate_from_chat_id=-5)) == Move("-5", "-1005")


def test_pressed_button_is_its_command() -> None:
    shown = message(FORUM, "choose", **{"from": BOT}, message_thread_id=5, is_topic_message=True)
    press = {"id": "99", "from": ANN, "chat_instance": "1", "message": shown, "data": "/approve 3"}
    got = act(press, "callback_query")
    assert isinstance(got, Press)
    assert got.message is not None
    assert (got.message.message_id, got.message.text) == ("press:99", "/approve 3")
    assert (got.message.source.user_id, got.message.source.thread_id) == ("11", "5")
    assert got.message.addressed
    assert act(press | {"data": "approve"}, "callback_query") == Press("99", None)


def test_button_of_a_message_that_is_too_old() -> None:
    shown = {"chat": PRIVATE, "message_id": 4, "date": 0}
    got = act({"id": "99", "from": ANN, "chat_instance": "1", "message": shown, "data": "/new"}, "callback_query")
    assert isinstance(got, Press)
    assert got.message is not None
    assert got.message.source.chat_id == "11"


def test_button_of_a_message_that_is_too_old_to_say_its_topic() -> None:
    """Telegram tells no more of it than its chat: the command would go to the conversation of another topic."""
    shown = {"chat": FORUM, "message_id": 4, "date": 0}
    press = {"id": "99", "from": ANN, "chat_instance": "1", "message": shown, "data": "/new"}
    refused = Press("99", None, TOO_OLD.format("/new"))
    assert act(press, "callback_query") == refused
    topics = Normaliser(replace(US, topics=True), require_mention=True)
    private = press | {"message": shown | {"chat": PRIVATE}}
    assert act(private, "callback_query", topics) == refused
    group = act(press | {"message": shown | {"chat": GROUP}}, "callback_query", topics)
    assert isinstance(group, Press)
    assert group.message is not None


def test_being_blocked_is_nothing_to_answer() -> None:
    left = {"user": BOT, "status": "member"}
    change = {"chat": PRIVATE, "from": ANN, "date": 1, "old_chat_member": left}
    change["new_chat_member"] = {"user": BOT, "status": "kicked", "until_date": 0}
    assert isinstance(act(change, "my_chat_member"), Ignore)


def test_update_of_a_kind_to_come() -> None:
    assert isinstance(act({"x": 1}, "telepathy"), Ignore)
