"""Faults that programs of this kind are known to have, each by a short name, and the tests that show that this one has
not: `FILE::TEST`, the file below `tests/`."""

from collections.abc import Mapping, Sequence
from typing import Final

_FAULTS = "unit/test_known_faults.py"
_KEY = "unit/session/test_key.py"
_RESET = "unit/session/test_reset.py"
_RULES = "unit/session/test_store_rules.py"
_VECTORS = "unit/session/test_store_vectors.py"
_TRANSCRIPTS = "unit/session/test_store_transcripts.py"
_TALK = "unit/commands/test_conversation.py"
_SESSIONS = "unit/session/test_session_operations.py"
_COMPACT = "unit/commands/test_compact.py"
_OPERATIONS = "unit/session/test_store_operations.py"
_MEMORY = "unit/memory/test_generations.py"

KNOWN_FAULTS: Final[Mapping[str, Sequence[str]]] = {
    # --- who a conversation belongs to ---------------------------------------------------------------------
    "two places share a session because their keys are written alike": (
        f"{_KEY}::test_ids_with_colons_cannot_collide",
        f"{_KEY}::test_thread_and_person_of_one_name_are_different_slots",
        f"{_KEY}::test_chat_and_person_of_one_id_are_different_direct_slots",
    ),
    "two people without a chat id share a session": (
        f"{_KEY}::test_people_who_write_without_a_chat_id_have_sessions_of_their_own",
        f"{_RULES}::test_a_source_that_names_nobody_is_refused",
    ),
    "an id that is a number breaks a key": (f"{_KEY}::test_integer_ids_are_text",),
    "somebody is not new because anybody else has written": (
        f"{_RULES}::test_other_peoples_sessions_do_not_count_as_ones_own",
    ),
    "an absent chat becomes the word None": (f"{_FAULTS}::test_an_absent_chat_stays_absent",),
    # --- when a session ends -------------------------------------------------------------------------------
    "idle time is counted by clocks that are put forward and back": (
        f"{_RESET}::test_idle_counts_real_minutes_when_clocks_go_forward",
        f"{_FAULTS}::test_an_hour_that_clocks_show_twice_is_counted_by_its_real_minutes",
    ),
    "a setting out of range fails at each message": (f"{_RESET}::test_idle_limits_of_any_size_are_understood",),
    "a session with messages counts as empty where no usage is reported": (
        f"{_VECTORS}::test_002_messages_without_reported_usage_are_activity",
    ),
    "the notice of a reset is lost with a restart": (f"{_VECTORS}::test_006_the_notice_of_a_reset_survives_a_restart",),
    "a forced session leaves the one before open": (f"{_RULES}::test_forced_session_ends_the_old_one",),
    "a session is reset under its own running turn": (
        f"{_RULES}::test_an_open_turn_keeps_its_session",
        f"{_RULES}::test_a_turn_longer_than_the_idle_time_ends_as_activity",
    ),
    "a reset charges the new session with the old one's turn": (
        f"{_RULES}::test_a_reset_in_mid_turn_does_not_charge_the_new_session",
    ),
    "a callback that asks the store deadlocks": (
        f"{_RULES}::test_background_work_keeps_a_session_and_may_ask_the_store",
    ),
    "a switch takes what is no id, is somebody else's, or forgets counters": (
        f"{_VECTORS}::test_013_switch_to_what_is_no_id",
        f"{_RULES}::test_switch_to_somebody_elses_session_looks_like_a_missing_one",
        f"{_RULES}::test_switch_restores_counters_and_times",
    ),
    # --- storing -------------------------------------------------------------------------------------------
    "a session is seen before it is stored": (
        f"{_FAULTS}::test_whoever_is_given_a_session_can_write_to_it_at_once",
        f"{_FAULTS}::test_a_session_that_could_not_be_begun_is_not_there_at_all",
        f"{_FAULTS}::test_a_reset_that_fails_leaves_the_session_live",
    ),
    "a rewrite that fails in its middle leaves half a transcript": (
        f"{_VECTORS}::test_018_rewrite_whose_second_insert_fails",
        f"{_FAULTS}::test_a_cut_that_fails_changes_nothing",
    ),
    "one record that cannot be read hides or erases the others": (
        f"{_FAULTS}::test_one_record_that_cannot_be_read_hides_no_other",
        "unit/storage/test_spool_damage.py::test_one_wrong_bit_takes_one_line_at_most",
        "crash/test_damage.py::test_a_damaged_database_is_kept_byte_for_byte",
    ),
    "every message writes and syncs everything anew, and leaves temporary files": (
        f"{_FAULTS}::test_many_messages_leave_no_temporary_files",
        f"{_TRANSCRIPTS}::test_a_turn_is_one_commit",
    ),
    "a folder that is gone makes appending fail": (
        f"{_FAULTS}::test_the_fallback_makes_its_folder_again",
        "unit/storage/test_mirror.py::test_the_folder_is_made_again",
    ),
    "an index of names is out of date": (
        f"{_RULES}::test_a_list_has_ended_sessions_too_and_its_window_is_inclusive",
        f"{_RULES}::test_two_stores_agree_on_who_a_slot_belongs_to",
    ),
    "keys of a message that are not known are lost with the next write": (
        f"{_TRANSCRIPTS}::test_messages_come_back_as_they_were",
    ),
    "an id leads out of the folder": (f"{_FAULTS}::test_what_is_no_id_reaches_nothing",),
    "the first instant of the calendar becomes now": (
        f"{_FAULTS}::test_the_first_instant_of_the_calendar_is_an_instant",
    ),
    "two who write in one thread share a temporary file": (
        f"{_FAULTS}::test_two_who_write_the_same_files_at_once_do_not_mix",
    ),
    "connections to the database are never closed": (
        f"{_FAULTS}::test_a_reader_that_is_given_up_while_it_opens_leaves_no_thread",
        "unit/storage/test_database.py::test_a_connection_that_cannot_be_set_up_is_closed",
    ),
    "a deletion leaves messages behind": ("unit/storage/test_erasure.py::test_a_purge_leaves_no_byte",),
    "messages of one instant come in any order": (
        f"{_TRANSCRIPTS}::test_turns_of_many_sessions_keep_their_order",
        "unit/cli/test_inspection.py::test_a_transcript_has_its_messages_in_order",
    ),
    # --- taking back ---------------------------------------------------------------------------------------
    "content that is absent reads as a word, or breaks a title": (
        "unit/session/test_text.py::test_null_never_reads_as_a_word",
        "unit/session/test_text.py::test_flatten_takes_anything",
    ),
    "a running turn brings back what was taken back": (
        f"{_FAULTS}::test_a_turn_that_ends_after_an_undo_brings_nothing_back",
        f"{_OPERATIONS}::test_undo_while_a_turn_is_appended_removes_whole_turns",
    ),
    "a part of an operation is kept where another part fails": (
        "unit/session/test_operation_steps.py::test_an_operation_that_fails_at_any_row_has_changed_nothing",
        "unit/commands/test_crashes.py::test_a_command_is_carried_out_once_whenever_the_process_dies",
    ),
    "a summary takes away for good what it stands for, or stands beside it": (
        f"{_COMPACT}::test_what_a_summary_stands_for_comes_back_in_its_place",
        f"{_COMPACT}::test_undo_and_redo_go_by_a_summary",
        f"{_COMPACT}::test_a_summary_of_what_has_changed_meanwhile_is_not_put_in",
    ),
    "what cannot be read of the projects erases them, or they are seen by others": (
        "unit/commands/test_marks.py::test_a_project_has_its_sessions_and_ends_with_the_last",
        "unit/commands/test_marks.py::test_projects_are_their_owners_alone",
    ),
    "two at once take back the same turn": (f"{_OPERATIONS}::test_two_at_once_never_take_the_same_turn",),
    "what is tried again has lost its images": (f"{_TALK}::test_retry_has_the_attachments",),
    "two who press at once have a message answered twice, or take back more than they asked": (
        f"{_TALK}::test_ten_retries_at_once_try_again_once",
        f"{_TALK}::test_ten_undos_at_once_take_each_turn_back_once",
        f"{_TALK}::test_retries_and_undos_at_once_leave_whole_turns",
    ),
    "the first messages are kept where the last were asked for, or none where the number is wrong": (
        f"{_SESSIONS}::test_truncate_keeps_what_it_says_and_redo_brings_the_rest_back",
        f"{_SESSIONS}::test_truncate_wants_to_be_told_which",
    ),
    "a fork takes everything for a wrong number, or is half there": (
        f"{_SESSIONS}::test_a_fork_of_a_negative_number_is_refused",
        f"{_SESSIONS}::test_a_fork_is_whole_or_not_there",
    ),
    "a session without an owner, or with another one, can be reached": (
        f"{_SESSIONS}::test_only_the_exact_owner_sees_a_session",
        "unit/commands/test_sessions.py::test_somebody_elses_session_is_as_one_that_there_is_not",
    ),
    "a list leaves out what is pinned, or what is being answered": (f"{_SESSIONS}::test_order_and_visibility",),
    "what runs is told by a mark that a crash leaves behind": (
        "unit/commands/test_status_vectors.py::test_a_turn_that_died_with_its_process_does_not_count_as_running",
    ),
    "what is starred is deleted": ("unit/commands/test_marks.py::test_a_starred_session_is_not_deleted",),
    "a name that was given by hand is overwritten": (
        "unit/commands/test_naming.py::test_a_name_that_a_person_gives_meanwhile_stays",
    ),
    "somebody holds a record that is changed under them, or changes it for all": (
        f"{_FAULTS}::test_a_record_that_somebody_holds_is_only_a_picture",
        f"{_FAULTS}::test_looking_at_a_list_takes_nothing_from_long_transcripts",
    ),
    # --- turns ---------------------------------------------------------------------------------------------
    "after a crash a turn counts as running for ever": (
        "crash/test_steps.py::test_every_step_of_the_code_is_killed_at",
        "unit/core/test_put_back.py::test_it_goes_on_at_the_next_start",
    ),
    "a long first turn is in no list": (f"{_RULES}::test_list_is_newest_first_and_its_window_includes_its_edge",),
    "a model that gives no answer loses what was asked": (
        "unit/core/test_turns.py::test_an_agent_that_just_ends_has_not_answered",
        "unit/core/test_turns.py::test_no_text_is_said_to_be_none",
    ),
    "who is cancelled while something is stored leaves it locked for the others": (
        "unit/storage/test_writer.py::test_a_cancelled_waiters_job_still_commits",
        "unit/core/test_lanes.py::test_exclusive_work_that_nobody_waits_for_is_not_done",
    ),
    "one failure is tried again without an end, or blocks the others": (
        "unit/core/test_lanes.py::test_a_turn_that_cannot_be_recorded_ends_dead_and_blocks_nothing",
        "unit/storage/test_merge.py::test_one_conversation_with_two_turns_holds_up_no_other",
    ),
    # --- what is remembered --------------------------------------------------------------------------------
    "a commit of the memory that is cancelled blocks its session for ever": (f"{_MEMORY}::test_case_017",),
    "turns during a commit are each handed over by themselves, with the whole session": (
        f"{_MEMORY}::test_case_008",
        "integration/test_memory.py::test_what_was_taken_back_is_not_remembered",
    ),
    "turns of nobody wait for ever": (f"{_MEMORY}::test_case_013",),
    "what was to be remembered is lost with the process": (
        f"{_MEMORY}::test_death_at_a_step_loses_nothing_and_repeats_only_what_was_under_way",
        "crash/test_memory.py::test_killed_twice_at_a_step_of_a_commit",
    ),
    "a memory that hangs keeps the program from ending, and one that fails is tried again and again": (
        f"{_MEMORY}::test_a_drain_ends_whatever_hangs_and_tries_what_fails_once",
        "integration/test_memory.py::test_a_hanging_provider_does_not_keep_the_gateway_from_stopping",
    ),
    "a memory that is slow holds a conversation up": (
        "integration/test_memory.py::test_a_hanging_recall_is_given_up",
        "integration/test_memory.py::test_a_slow_extraction_costs_the_next_conversation_no_more_than_a_moment",
    ),
    "memories of people are mixed": (
        "unit/memory/test_scope.py::test_private_and_group_and_every_other_person_are_apart",
        "integration/test_memory.py::test_nobody_is_told_what_others_said_nor_a_group_what_was_said_in_private",
    ),
    # --- what an agent is told -----------------------------------------------------------------------------
    "a line break in a name gives the model orders": (
        "unit/session/test_prompt.py::test_line_breaks_in_a_name_are_blanks",
        "unit/session/test_prompt.py::test_no_value_leaves_its_quotes_or_its_line",
    ),
    "a phone number is shown to the model, or its hash is guessed": (
        "unit/session/test_prompt.py::test_names_that_are_phone_numbers_are_hidden",
        "unit/session/test_prompt.py::test_home_names_that_are_phone_numbers_are_hidden",
        "unit/session/test_prompt.py::test_secret_changes_the_hashes",
    ),
    "hiding ids fails where there is none, or where it is a number": (
        "unit/session/test_prompt.py::test_absent_and_integer_ids_can_be_redacted",
    ),
}
