"""Each field that comes from outside with each attack on it, and the tests that show what becomes of it: `FILE::TEST`,
the file below `tests/`. What is expected stands behind the attack."""

from collections.abc import Mapping, Sequence
from typing import Final

_OUTSIDE = "unit/access/test_outside.py"
_ATTACKS = "unit/access/test_attacks.py"
_ROLES = "unit/access/test_roles.py"
_PAIRING = "unit/access/test_pairing.py"
_LIMITS = "unit/access/test_limits.py"
_GATE = "unit/access/test_gate.py"
_PROPERTY = "property/test_strangers.py"
_STORE = "unit/media/test_store.py"
_OUTGOING = "unit/media/test_outgoing.py"
_CONTENT = "unit/media/test_content.py"
_LOGS = "unit/test_logs.py"
_HOOK = "unit/telegram/test_webhook.py"
_SLACK_HTTP = "integration/test_slack_http.py"
_WEBHOOKS = "integration/test_webhooks.py"
_POSTED = "unit/api/test_webhooks.py"
_INBOX = "unit/core/test_inbox.py"
_BAD = "integration/test_bad_input.py"

ATTACKS: Final[Mapping[str, Sequence[str]]] = {
    # --- injection: other words around what is ours ----------------------------------------------------------
    "names, topics, ids of people and threads | lines, quotes, hidden characters: one short quoted line": (
        f"{_OUTSIDE}::test_a_field_of_a_source_stays_in_its_line_of_the_prompt",
        f"{_OUTSIDE}::test_a_value_is_one_json_string",
    ),
    "a home channel's name | the same": (f"{_OUTSIDE}::test_a_home_channel_s_name_stays_in_its_line",),
    "the author of a quote | a sentence of ours: stays within it": (
        f"{_OUTSIDE}::test_an_author_of_a_quote_stays_in_the_sentence",
    ),
    "a quoted text | orders, a command, a file's line: marked line by line, and nothing else": (
        f"{_OUTSIDE}::test_a_quoted_text_has_every_line_marked",
        f"{_ATTACKS}::test_a_quote_of_a_stranger_is_no_command_and_names_no_file",
    ),
    "a thread that is read along | another person's words, ours too: each message begins a line of its own": (
        f"{_ATTACKS}::test_nobody_in_a_thread_can_speak_for_another",
    ),
    "an edit | the same": (f"{_OUTSIDE}::test_an_edit_has_every_line_marked",),
    "a file's name | brackets, markup, hidden characters: neutralised": (
        f"{_OUTSIDE}::test_a_file_s_name_stays_in_its_brackets",
        "unit/media/test_kinds.py::test_a_name_from_outside_is_made_harmless",
    ),
    "a text file | the end of its marks: nothing in it ends them": (
        f"{_CONTENT}::test_nothing_in_a_file_ends_its_marks",
    ),
    "a field of what is posted | orders, a command, lines, hidden characters: each line marked, or one JSON string": (
        f"{_POSTED}::test_fields_are_quoted_and_nothing_else_is_read",
        f"{_POSTED}::test_nothing_in_a_body_leaves_its_quotes",
        f"{_PROPERTY}::test_who_knows_the_secret_reaches_the_agent_and_no_command",
    ),
    "a contact, a poll, a checklist, a place, a game, an invoice | brackets: none": (
        f"{_OUTSIDE}::test_what_a_contact_says_stays_in_its_brackets",
        f"{_OUTSIDE}::test_what_a_place_a_game_and_an_invoice_say_stays_in_their_brackets",
        f"{_OUTSIDE}::test_what_a_poll_and_a_checklist_list_stays_in_their_brackets",
    ),
    "a stranger's name | markup in what admins see, and on buttons: none": (
        f"{_OUTSIDE}::test_a_stranger_s_name_is_no_markup_and_no_button",
        f"{_PAIRING}::test_a_name_that_a_stranger_chose_is_no_markup",
    ),
    "what is logged | a line of its own, orders to a terminal: escaped": (
        f"{_LOGS}::test_a_message_cannot_forge_a_line",
    ),
    "any text | statements of SQL, characters that no database holds: data": (
        f"{_INBOX}::test_text_that_no_database_holds_is_cleaned",
        f"{_ATTACKS}::test_a_forged_button_makes_no_owner_and_lets_nobody_else_in",
    ),
    # --- terminals -------------------------------------------------------------------------------------------
    "a reply in the chat | orders to the terminal: taken out": (
        "unit/local/test_markup.py::test_no_text_can_steer_the_terminal",
        f"{_ATTACKS}::test_what_a_person_reads_beside_a_program_steers_no_terminal",
        f"{_ATTACKS}::test_json_of_a_chat_steers_no_terminal_and_loses_nothing",
        f"{_ATTACKS}::test_a_character_that_markdown_names_steers_no_terminal",
        f"{_ATTACKS}::test_a_link_on_a_terminal_says_where_it_leads",
    ),
    "names and titles in tables | the same": (
        "unit/cli/test_output.py::test_neutral_leaves_nothing_that_steers_a_terminal",
        f"{_ATTACKS}::test_a_stranger_s_name_steers_no_terminal_of_the_operator",
    ),
    "a transcript that is exported to a terminal | the same": (
        f"{_ATTACKS}::test_an_export_on_a_terminal_does_not_steer_it",
    ),
    # --- path traversal --------------------------------------------------------------------------------------
    "a file's name and id | a path: they decide none": (
        f"{_OUTSIDE}::test_a_file_s_name_is_never_a_path",
        f"{_STORE}::test_ids_from_outside_decide_no_path",
    ),
    "a link where a file is to be | another place: not followed": (
        f"{_STORE}::test_a_link_in_its_place_is_not_followed",
    ),
    "a transcript's file | another path: refused": (
        f"{_STORE}::test_a_transcript_cannot_name_another_path",
        f"{_CONTENT}::test_a_part_that_is_not_ours_shows_no_file",
    ),
    "a file that an answer names | outside what is allowed, a link, another session's, exchanged: refused": (
        f"{_OUTGOING}::test_only_allowed_folders",
        f"{_OUTGOING}::test_files_of_other_sessions_stay_there",
        f"{_OUTGOING}::test_a_file_that_is_exchanged_in_the_middle_is_refused",
    ),
    "the address of a file | another host or path: refused": (
        "unit/telegram/test_files.py::test_path_that_is_no_address",
    ),
    "the id of a session | a path: no session": ("unit/test_known_faults.py::test_what_is_no_id_reaches_nothing",),
    # --- bombs and size --------------------------------------------------------------------------------------
    "any text | patterns that read it for ever: read in time": (
        f"{_ATTACKS}::test_no_text_holds_up_what_reads_it",
        "unit/markup/test_markup_parse.py::test_no_text_takes_a_long_time_or_a_deep_stack",
    ),
    "the body of a webhook | too large, nested too deeply, no JSON: 413 or 400": (f"{_HOOK}::test_who_may_post",),
    "what is posted | too large, slow, nested too deeply, packed wrongly, huge values: refused, or cut": (
        f"{_WEBHOOKS}::test_each_request_that_is_not_right_gets_its_status",
        f"{_WEBHOOKS}::test_a_body_without_a_length_is_bounded_and_a_slow_one_is_not_waited_for",
        f"{_POSTED}::test_what_is_no_json_object_is_refused",
        f"{_POSTED}::test_a_field_is_cut_and_so_is_the_whole",
    ),
    "the answer of a platform | nested too deeply: an error": (
        "unit/telegram/test_client.py::test_answer_that_is_nested_too_deeply",
    ),
    "a frame on the socket | too large, none at all, half of one: refused": (
        f"{_BAD}::test_a_frame_beyond_the_limit_ends_the_connection_with_a_reason",
        f"{_BAD}::test_a_frame_that_is_none_is_told_so",
        f"{_BAD}::test_half_a_frame_and_then_nothing_is_no_message",
    ),
    "the body of a request | too large, said or not; one that does not come: refused": (
        "integration/test_http.py::test_large_bodies_are_refused_whether_their_length_is_said_or_not",
        "unit/core/test_platform_requests.py::test_a_body_that_is_too_large_is_refused",
        "unit/core/test_platform_requests.py::test_a_body_that_does_not_come_is_not_waited_for",
    ),
    "a message, an edit | too long: refused in words": (
        f"{_INBOX}::test_what_is_refused_says_why",
        "unit/core/test_amend.py::test_an_edit_that_is_too_long_is_told_and_changes_nothing",
    ),
    "a file | larger than it says, than the limit, than the disk: dropped": (
        f"{_STORE}::test_what_says_it_is_too_large_is_not_asked_for",
        f"{_STORE}::test_what_turns_out_too_large_is_dropped_on_the_way",
        f"{_STORE}::test_a_disk_that_is_nearly_full_is_left_to_the_database",
    ),
    "an image | only said to be one, too large: shown to nobody": (
        f"{_CONTENT}::test_what_only_says_that_it_is_an_image_is_none",
        f"{_CONTENT}::test_an_image_that_is_too_large_is_named",
    ),
    "strangers | a crowd, memory, the disk: bounded": (
        f"{_LIMITS}::test_a_crowd_of_strangers_does_not_fill_the_audit",
        f"{_LIMITS}::test_memory_is_bounded",
        f"{_PAIRING}::test_few_can_wait_at_once",
    ),
    "messages | faster than allowed, tokens beyond a day's: one notice": (
        f"{_LIMITS}::test_who_writes_too_fast_is_told_once",
        f"{_LIMITS}::test_a_day_s_tokens_are_counted_over_a_restart_and_end_with_the_day",
    ),
    "bots | answers to answers, in a thread or in ever new ones: cut off": (
        f"{_LIMITS}::test_bots_that_answer_each_other_are_cut_off_until_a_person_writes",
        f"{_LIMITS}::test_bots_that_open_a_thread_each_time_are_cut_off_too",
        f"{_LIMITS}::test_a_slow_loop_within_a_thread_is_cut_off",
    ),
    # --- forgery ---------------------------------------------------------------------------------------------
    "a button | pressed by somebody else, with other content: a command of who presses it": (
        f"{_ATTACKS}::test_a_button_of_an_admin_is_nobody_else_s_and_counts_once",
        f"{_ATTACKS}::test_a_forged_button_makes_no_owner_and_lets_nobody_else_in",
    ),
    "the secret of a webhook | missing, wrong, no text: 401": (f"{_HOOK}::test_who_may_post",),
    "the signature of an event | missing, another's, of another body, old, of the future: refused": (
        f"{_SLACK_HTTP}::test_only_slack_is_heard",
    ),
    "what is posted | unsigned, signed by others, for another time or body, under another host's name: refused": (
        f"{_POSTED}::test_what_is_not_signed_is_refused",
        f"{_POSTED}::test_only_what_was_signed_lately_is_taken",
        f"{_WEBHOOKS}::test_each_request_that_is_not_right_gets_its_status",
        f"{_PROPERTY}::test_who_knows_no_secret_of_a_webhook_reaches_nothing",
        "unit/api/test_calls.py::test_a_webhook_whose_secret_could_not_be_read_lets_nobody_in",
    ),
    "the key of a request | missing, wrong, empty: 401": (
        "integration/test_http.py::test_a_wrong_key_is_unauthorized",
        "integration/test_http.py::test_an_empty_key_is_none",
    ),
    "ids, roles, teams | a wildcard, an empty one, another platform's: nobody": (
        f"{_GATE}::test_nobody_is_let_in_whose_ids_stand_nowhere",
        f"{_ROLES}::test_a_wildcard_stands_for_people_alone",
    ),
    "a code | guessed 10,000 times, another installation's, old, used: not let in": (
        f"{_PAIRING}::test_ten_thousand_guesses_let_nobody_in",
        f"{_PAIRING}::test_the_hash_is_keyed_by_the_installation",
        f"{_PAIRING}::test_a_code_lasts_an_hour",
        f"{_PAIRING}::test_a_code_lets_in_once",
    ),
    # --- replays ---------------------------------------------------------------------------------------------
    "a message | once more, with other words, under an id of somebody else: answered once": (
        f"{_INBOX}::test_a_message_is_accepted_once",
        f"{_ATTACKS}::test_a_message_that_is_replayed_with_other_words_is_the_first_one",
        f"{_ATTACKS}::test_somebody_else_s_message_id_cannot_be_taken",
        f"{_SLACK_HTTP}::test_what_is_posted_twice_is_answered_once",
    ),
    "what is posted | once more, under another id, after a restart, in an outage: taken once": (
        f"{_WEBHOOKS}::test_a_request_that_is_repeated_makes_no_second_turn_not_even_after_a_restart",
        f"{_WEBHOOKS}::test_the_same_id_is_taken_once_however_it_is_signed",
        "unit/api/test_calls.py::test_what_came_before_an_outage_is_known_in_it_and_the_other_way_round",
    ),
    # --- commands that only look like one --------------------------------------------------------------------
    "a command | homoglyphs, full width, invisible characters: for the agent": (
        f"{_ROLES}::test_what_only_looks_like_a_command_goes_no_further",
    ),
    "an edit into a command | a role that its sender has not: refused": (
        f"{_ROLES}::test_an_edit_into_a_command_is_checked_when_it_runs",
    ),
    "everything at once | from somebody who is unknown: reaches nothing": (
        f"{_PROPERTY}::test_who_is_not_let_in_reaches_nothing",
    ),
    # --- what the model says ---------------------------------------------------------------------------------
    "an answer | mentions of everybody, however they are written: call nobody": (
        "unit/markup/test_markup_discord.py::test_a_model_calls_nobody",
        "unit/markup/test_markup_slack.py::test_a_model_calls_nobody",
        "unit/markup/test_markup_telegram.py::test_a_model_calls_nobody",
    ),
    "an answer, a log, a status | a secret by its value, tokens by their form: masked": (
        f"{_LOGS}::test_tokens_are_known_by_their_form",
        f"{_LOGS}::test_configured_secrets_are_masked_however_they_are_written",
        "integration/test_secrets.py::test_no_secret_is_found_after_a_whole_run",
        "unit/test_leaks.py::test_each_place_is_searched",
    ),
}
