"""Faults that programs of this kind are known to have, each by a short name, and the tests that show that this one has
not: `FILE::TEST`, the file below `tests/`. The faults of the programs that this one follows have numbers, 1 to
`NUMBERED`, so that none gets lost; one may have several entries."""

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
_HOME = "unit/importing/test_home_vectors.py"
_CLI = "unit/importing/test_cli_sessions.py"
_TOOLS = "unit/tools/test_vectors.py"
_RELAY = "unit/tools/test_relay.py"
_MEMORY = "unit/memory/test_generations.py"

NUMBERED: Final = 51

KNOWN_FAULTS: Final[Mapping[str, Sequence[str]]] = {
    # --- who a conversation belongs to ---------------------------------------------------------------------
    "1: two places share a session because their keys are written alike": (
        f"{_KEY}::test_ids_with_colons_cannot_collide",
        f"{_KEY}::test_thread_and_person_of_one_name_are_different_slots",
        f"{_KEY}::test_chat_and_person_of_one_id_are_different_direct_slots",
    ),
    "2: two people without a chat id share a session": (
        f"{_KEY}::test_people_who_write_without_a_chat_id_have_sessions_of_their_own",
        f"{_RULES}::test_a_source_that_names_nobody_is_refused",
    ),
    "3: an id that is a number breaks a key": (f"{_KEY}::test_integer_ids_are_text",),
    "18: somebody is not new because anybody else has written": (
        f"{_RULES}::test_other_peoples_sessions_do_not_count_as_ones_own",
    ),
    "22: an absent chat becomes the word None": (f"{_FAULTS}::test_an_absent_chat_stays_absent",),
    # --- when a session ends -------------------------------------------------------------------------------
    "4: idle time is counted by clocks that are put forward and back": (
        f"{_RESET}::test_idle_counts_real_minutes_when_clocks_go_forward",
        f"{_FAULTS}::test_an_hour_that_clocks_show_twice_is_counted_by_its_real_minutes",
    ),
    "5: a setting out of range fails at each message": (
        f"{_RESET}::test_idle_limits_of_any_size_are_understood",
        "unit/config/test_models.py::test_reset_policy_refuses",
    ),
    "6: a session with messages counts as empty where no usage is reported": (
        f"{_VECTORS}::test_002_messages_without_reported_usage_are_activity",
    ),
    "7: the notice of a reset is lost with a restart": (
        f"{_VECTORS}::test_006_the_notice_of_a_reset_survives_a_restart",
    ),
    "8: a forced session leaves the one before open": (f"{_RULES}::test_forced_session_ends_the_old_one",),
    "15: a session is reset under its own running turn": (
        f"{_RULES}::test_an_open_turn_keeps_its_session",
        f"{_RULES}::test_a_turn_longer_than_the_idle_time_ends_as_activity",
    ),
    "10: a reset charges the new session with the old one's turn": (
        f"{_RULES}::test_a_reset_in_mid_turn_does_not_charge_the_new_session",
    ),
    "14: a callback that asks the store deadlocks": (
        f"{_RULES}::test_background_work_keeps_a_session_and_may_ask_the_store",
    ),
    "9: a switch takes what is no id, is somebody else's, or forgets counters": (
        f"{_VECTORS}::test_013_switch_to_what_is_no_id",
        f"{_RULES}::test_switch_to_somebody_elses_session_looks_like_a_missing_one",
        f"{_RULES}::test_switch_restores_counters_and_times",
    ),
    # --- storing -------------------------------------------------------------------------------------------
    "11: a session is seen before it is stored": (
        f"{_FAULTS}::test_whoever_is_given_a_session_can_write_to_it_at_once",
        f"{_FAULTS}::test_a_session_that_could_not_be_begun_is_not_there_at_all",
        f"{_FAULTS}::test_a_reset_that_fails_leaves_the_session_live",
        "unit/storage/test_failover.py::test_people_go_on_while_the_database_is_locked",
        "unit/storage/test_failover_twice.py::test_what_is_hidden_is_not_taken_for_absent",
    ),
    "12: a rewrite that fails in its middle leaves half a transcript": (
        f"{_VECTORS}::test_018_rewrite_whose_second_insert_fails",
        f"{_FAULTS}::test_a_cut_that_fails_changes_nothing",
    ),
    "13: one record that cannot be read hides or erases the others": (
        f"{_FAULTS}::test_one_record_that_cannot_be_read_hides_no_other",
        "unit/storage/test_spool_damage.py::test_one_wrong_bit_takes_one_line_at_most",
        "crash/test_damage.py::test_a_damaged_database_is_kept_byte_for_byte",
        "unit/importing/test_import.py::test_bad_entries_are_named_and_the_others_used",
        "unit/importing/test_import.py::test_an_index_that_breaks_off_is_used_up_to_there",
        f"{_HOME}::test_session_store_019_020_a_platform_that_is_gone_costs_no_entry",
        f"{_HOME}::test_session_store_022_a_truncated_index_is_kept_and_told",
    ),
    "16: every message writes and syncs everything anew, and leaves temporary files": (
        f"{_FAULTS}::test_many_messages_leave_no_temporary_files",
        f"{_TRANSCRIPTS}::test_a_turn_is_one_commit",
        f"{_HOME}::test_webui_store_019_what_was_never_made_whole_is_swept_after_an_hour",
    ),
    "17: a folder that is gone makes appending fail": (
        f"{_FAULTS}::test_the_fallback_makes_its_folder_again",
        "unit/storage/test_mirror.py::test_the_folder_is_made_again",
    ),
    "34: an index of names is out of date": (
        f"{_RULES}::test_a_list_has_ended_sessions_too_and_its_window_is_inclusive",
        f"{_RULES}::test_two_stores_agree_on_who_a_slot_belongs_to",
        "unit/importing/test_import.py::test_nonsense_in_every_column",
    ),
    "30: keys of a message that are not known are lost with the next write": (
        f"{_TRANSCRIPTS}::test_messages_come_back_as_they_were",
        f"{_HOME}::test_webui_store_017_what_is_not_known_of_a_message_survives",
    ),
    "31: an id leads out of the folder": (
        f"{_FAULTS}::test_what_is_no_id_reaches_nothing",
        f"{_HOME}::test_webui_store_024_an_id_that_leads_out_of_the_folder",
        f"{_HOME}::test_webui_store_013_the_name_of_an_index_is_no_session",
    ),
    "32: the first instant of the calendar becomes now": (
        f"{_FAULTS}::test_the_first_instant_of_the_calendar_is_an_instant",
        f"{_HOME}::test_webui_store_018_times_of_nought_stay",
        f"{_HOME}::test_webui_store_016_a_corrupt_file_costs_what_is_in_it",
    ),
    "35: two who write in one thread share a temporary file": (
        f"{_FAULTS}::test_two_who_write_the_same_files_at_once_do_not_mix",
    ),
    "37: connections to the database are never closed": (
        f"{_FAULTS}::test_a_reader_that_is_given_up_while_it_opens_leaves_no_thread",
        "unit/storage/test_database.py::test_a_connection_that_cannot_be_set_up_is_closed",
        f"{_CLI}::test_no_connection_is_left_open",
    ),
    "37: a deletion leaves messages behind": (
        "unit/storage/test_erasure.py::test_a_purge_leaves_no_byte",
        f"{_CLI}::test_deleting_takes_the_messages_along",
    ),
    "38: messages of one instant come in any order": (
        f"{_TRANSCRIPTS}::test_turns_of_many_sessions_keep_their_order",
        "unit/cli/test_inspection.py::test_a_transcript_has_its_messages_in_order",
        f"{_CLI}::test_messages_in_the_order_of_time",
        f"{_CLI}::test_what_tools_did_is_told_too",
    ),
    # --- taking back ---------------------------------------------------------------------------------------
    "23: content that is absent reads as a word, or breaks a title": (
        "unit/session/test_text.py::test_null_never_reads_as_a_word",
        "unit/session/test_text.py::test_flatten_takes_anything",
        f"{_OPERATIONS}::test_case",
    ),
    "25: a running turn brings back what was taken back": (
        f"{_FAULTS}::test_a_turn_that_ends_after_an_undo_brings_nothing_back",
        f"{_OPERATIONS}::test_undo_while_a_turn_is_appended_removes_whole_turns",
    ),
    "27: a part of an operation is kept where another part fails": (
        "unit/session/test_operation_steps.py::test_an_operation_that_fails_at_any_row_has_changed_nothing",
        "unit/commands/test_crashes.py::test_a_command_is_carried_out_once_whenever_the_process_dies",
        f"{_FAULTS}::test_a_cut_that_fails_changes_nothing",
    ),
    "a summary takes away for good what it stands for, or stands beside it": (
        f"{_COMPACT}::test_what_a_summary_stands_for_comes_back_in_its_place",
        f"{_COMPACT}::test_undo_and_redo_go_by_a_summary",
        f"{_COMPACT}::test_a_summary_of_what_has_changed_meanwhile_is_not_put_in",
    ),
    "36: what cannot be read of the projects erases them, or they are seen by others": (
        "unit/commands/test_marks.py::test_a_project_has_its_sessions_and_ends_with_the_last",
        "unit/commands/test_marks.py::test_projects_are_their_owners_alone",
    ),
    "two at once take back the same turn": (f"{_OPERATIONS}::test_two_at_once_never_take_the_same_turn",),
    "24: what is tried again has lost its images": (f"{_TALK}::test_retry_has_the_attachments",),
    "two who press at once have a message answered twice, or take back more than they asked": (
        f"{_TALK}::test_ten_retries_at_once_try_again_once",
        f"{_TALK}::test_ten_undos_at_once_take_each_turn_back_once",
        f"{_TALK}::test_retries_and_undos_at_once_leave_whole_turns",
    ),
    "24: what hung on a message outlives its being taken back": (
        f"{_OPERATIONS}::test_case",
        f"{_OPERATIONS}::test_an_undo_is_activity_and_keeps_what_was_spent",
        f"{_COMPACT}::test_undo_and_redo_go_by_a_summary",
        "integration/test_memory.py::test_what_was_taken_back_is_not_remembered",
        "unit/commands/test_sessions.py::test_what_was_taken_back_is_deleted_too",
    ),
    "29: looking at a session can write over its transcript": (
        f"{_FAULTS}::test_looking_at_a_list_takes_nothing_from_long_transcripts",
    ),
    "48: a new session gets the id of another one": (
        f"{_FAULTS}::test_an_id_that_is_taken_already_takes_nothing_over",
    ),
    "42: the first messages are kept where the last were asked for, or none where the number is wrong": (
        f"{_SESSIONS}::test_truncate_keeps_what_it_says_and_redo_brings_the_rest_back",
        f"{_SESSIONS}::test_truncate_wants_to_be_told_which",
        f"{_TOOLS}::test_case",
    ),
    "43: a fork takes everything for a wrong number, or is half there": (
        f"{_SESSIONS}::test_a_fork_of_a_negative_number_is_refused",
        f"{_SESSIONS}::test_a_fork_is_whole_or_not_there",
        f"{_TOOLS}::test_a_fork_of_a_negative_number_is_refused",
    ),
    "39: a session without an owner, or with another one, can be reached": (
        f"{_SESSIONS}::test_only_the_exact_owner_sees_a_session",
        "unit/commands/test_sessions.py::test_somebody_elses_session_is_as_one_that_there_is_not",
        f"{_TOOLS}::test_case",
    ),
    "33: a list leaves out what is pinned, or what is being answered": (f"{_SESSIONS}::test_order_and_visibility",),
    "28: what runs is told by a mark that a crash leaves behind": (
        "unit/commands/test_status_vectors.py::test_a_turn_that_died_with_its_process_does_not_count_as_running",
    ),
    "what is starred is deleted": ("unit/commands/test_marks.py::test_a_starred_session_is_not_deleted",),
    "a name that was given by hand is overwritten": (
        "unit/commands/test_naming.py::test_a_name_that_a_person_gives_meanwhile_stays",
    ),
    "26: somebody holds a record that is changed under them, or changes it for all": (
        f"{_FAULTS}::test_a_record_that_somebody_holds_is_only_a_picture",
        f"{_FAULTS}::test_looking_at_a_list_takes_nothing_from_long_transcripts",
        f"{_RULES}::test_an_open_turn_keeps_its_session",
    ),
    # --- turns ---------------------------------------------------------------------------------------------
    "after a crash a turn counts as running for ever": (
        "crash/test_steps.py::test_every_step_of_the_code_is_killed_at",
        "unit/core/test_put_back.py::test_it_goes_on_at_the_next_start",
    ),
    "33: a long first turn is in no list": (
        f"{_SESSIONS}::test_order_and_visibility",
        f"{_SESSIONS}::test_an_empty_session_with_a_waiting_message_is_listed",
        f"{_TOOLS}::test_visibility",
    ),
    "40: a model that gives no answer loses what was asked": (
        "unit/core/test_turns.py::test_an_agent_that_just_ends_has_not_answered",
        "unit/core/test_turns.py::test_no_text_is_said_to_be_none",
        f"{_TOOLS}::test_030_a_model_that_says_nothing_is_an_error",
        f"{_TALK}::test_a_failed_turn_offers_to_be_retried",
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
    "49: a commit of the memory that is cancelled blocks its session for ever": (f"{_MEMORY}::test_case_017",),
    "50: turns during a commit are each handed over by themselves, with the whole session": (
        f"{_MEMORY}::test_case_008",
        "integration/test_memory.py::test_what_was_taken_back_is_not_remembered",
        f"{_MEMORY}::test_many_at_once_hand_each_turn_over_once",
    ),
    "51: turns of nobody wait for ever": (
        f"{_MEMORY}::test_case_013",
        f"{_MEMORY}::test_a_session_that_is_deleted_in_a_commit_leaves_nothing",
    ),
    "51: what was to be remembered is lost with the process": (
        f"{_MEMORY}::test_death_at_a_step_loses_nothing_and_repeats_only_what_was_under_way",
        "crash/test_memory.py::test_killed_twice_at_a_step_of_a_commit",
    ),
    "51: a memory that hangs keeps the program from ending, and one that fails is tried again and again": (
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
    # --- what agents do with sessions ----------------------------------------------------------------------
    "41: a session is written to beside its own turns, by itself, in a circle, or though it is put away": (
        f"{_RELAY}::test_a_session_does_not_write_to_itself",
        f"{_RELAY}::test_two_sessions_that_write_to_each_other_stop_at_the_limit_and_say_so",
        f"{_RELAY}::test_two_that_write_to_each_other_at_once_do_not_wait_for_ever",
        f"{_RELAY}::test_a_session_that_is_live_in_a_chat_is_answered_there",
        f"{_RELAY}::test_messages_to_an_archived_session_and_too_long_ones_are_refused",
    ),
    "44: who answers in a session is forgotten": (f"{_TOOLS}::test_who_answers_in_a_session_is_kept",),
    "45: a session's name ends its link, or its line": (f"{_TOOLS}::test_no_name_leaves_its_link_or_its_line",),
    "46: arguments that are absent are not answered": (f"{_TOOLS}::test_nothing_at_all_is_answered",),
    "47: looking at sessions changes their order, or takes in those of others": (
        f"{_TOOLS}::test_looking_moves_nothing",
        f"{_TOOLS}::test_case",
        "unit/storage/test_plans.py::test_no_statement_reads_a_growing_table_from_end_to_end",
    ),
    "a call that is made again does its work again": (
        f"{_RELAY}::test_the_same_call_is_one_message_whenever_it_is_made_again",
        "integration/test_mcp.py::test_a_call_with_a_key_is_carried_out_once",
        "integration/test_mcp.py::test_a_call_whose_answer_is_lost_is_made_again",
    ),
    # --- what an agent is told -----------------------------------------------------------------------------
    "20: a line break in a name gives the model orders": (
        "unit/session/test_prompt.py::test_line_breaks_in_a_name_are_blanks",
        "unit/session/test_prompt.py::test_no_value_leaves_its_quotes_or_its_line",
    ),
    "19: a phone number is shown to the model, or its hash is guessed": (
        "unit/session/test_prompt.py::test_names_that_are_phone_numbers_are_hidden",
        "unit/session/test_prompt.py::test_home_names_that_are_phone_numbers_are_hidden",
        "unit/session/test_prompt.py::test_secret_changes_the_hashes",
        "unit/session/test_prompt.py::test_ids_are_hidden_when_asked",
        "unit/session/test_prompt.py::test_each_id_is_hidden_by_its_own_platform",
        "unit/session/test_pii.py::test_phone_numbers_in_names_are_hashed",
        "unit/session/test_pii.py::test_secret_changes_the_value_and_not_the_shape",
    ),
    "21: hiding ids fails where there is none, or where it is a number": (
        "unit/session/test_prompt.py::test_absent_and_integer_ids_can_be_redacted",
    ),
}
