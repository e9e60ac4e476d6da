"""The faults that Hilum survives, and the tests that make each of them happen.

`make soak` runs these tests, and `python -m docs.generate` makes the table of docs/reliability.md
of them. A test is a file, or one test of a file.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A fault, the tests that make it happen, and what must be seen."""

    name: str
    wanted: str
    tests: tuple[str, ...] = ()


def _of(file: str, *tests: str) -> tuple[str, ...]:
    """Tests of a file, named without what every name begins with."""
    folder, _, name = file.partition("/")
    path = f"tests/{folder}/test_{name}.py"
    return tuple(f"{path}::test_{test}" for test in tests) or (path,)


KILL = Fault(
    "a process is killed (`kill -9`) at any step",
    "at least 200 points; 0 acknowledged images lost, 0 reports twice",
    _of("faults/storage_kill") + _of("faults/service_kill") + _of("faults/loop_kill")
    + _of("faults/training_kill"),
)  # fmt: skip
SYNC = Fault(
    "the disk fails at a sync",
    "never a success; the process ends within 1 s",
    _of("faults/storage_disk", "a_failed_sync_is_never_acknowledged")
    + _of("faults/service_disk", "a_sync_that_fails_is_never_acknowledged_and_ends_the_listener"),
)
DISK_FULL = Fault(
    "the disk is full",
    "A700H or a rejection, nothing else; accepted again within 10 s of space",
    _of("faults/storage_disk", "a_full_disk_refuses_and_accepts_again_when_there_is_space")
    + _of(
        "faults/service_disk",
        "a_full_disk_is_answered_a700_and_taken_from_again_when_there_is_space",
    )
    + _of("faults/loop_disk"),
)
DAMAGE = Fault(
    "a byte of a stored object or of the database changes",
    "found at start or at use, raised, never reported on",
    _of(
        "integration/care",
        "a_scheduled_check_raises_what_is_damaged_until_it_is_sound",
        "a_damaged_page_is_found_by_a_check_and_at_a_start_and_is_not_backed_up",
    )
    + _of("integration/delivery", "a_damaged_report_is_not_sent")
    + _of("integration/dicomweb", "a_damaged_object_is_told_and_never_half_sent"),
)
REPEATED = Fault(
    "one image comes 100 times on five associations",
    "1 job, 1 report",
    _of("faults/service_hostile")
    + _of("integration/listener", "the_same_image_from_another_sender_is_a_repetition"),
)
CONFLICT = Fault(
    "other pixels come under the same UID",
    "both kept; quarantine and alarm",
    _of("integration/listener", "other_pixels_under_one_uid_are_kept_and_quarantined"),
)
SLOW_PEER = Fault(
    "peers that dribble: 12 send three bytes, others a byte each half second",
    "a good peer is done within 1 s of its usual time; threads and sockets go back to before",
    _of(
        "faults/listener_held",
        "peers_that_dribble",
        "bare_connections_cost_no_thread_and_are_bounded",
    )
    + _of("integration/listener", "a_pdu_that_does_not_come_to_its_end_is_not_awaited"),
)
HUGE_PDU = Fault(
    "a PDU header that announces 4 GiB; fragments without end",
    "less than 8 MiB more memory; the connection is closed",
    _of(
        "faults/listener_held",
        "what_has_no_end",
        "a_second_message_waits_for_the_first",
    )
    + _of("integration/listener", "a_header_that_announces_4_gib_is_not_believed"),
)
SILENT_TLS = Fault(
    "a TLS client that says nothing",
    "ten echoes beside it, each answered within 2 s",
    _of("faults/listener_held", "a_tls_client_that_says_nothing"),
)
FLOOD = Fault(
    "1,000 associations at 50 a second where 20 are allowed",
    "20 served, the others rejected at once; less than 200 MiB more memory",
    _of("faults/listener_held", "associations_over_the_limit")
    + _of(
        "integration/listener",
        "an_association_over_the_limit_is_rejected_and_the_others_go_on",
    ),
)
FUZZ = Fault(
    "changed PDUs and changed DICOM files",
    "the listener never ends; a file's child ends within 20 s",
    _of("properties/pixels_fuzz", "damaged_bytes_are_refused_or_read")
    + _of("properties/listener_fuzz")
    + _of("properties/report_headers", "a_damaged_header_is_refused_by_name_or_reported"),
)
BOMB = Fault(
    "nested sequences, a deflate bomb, huge rows x columns x frames",
    "quarantined before memory is taken",
    _of("faults/service_hostile")
    + _of("properties/pixels_fuzz", "sequences_nested_200_deep_are_undecodable")
    + _of(
        "unit/report_header",
        "a_deflated_object_is_not_inflated",
        "sequences_nested_without_end_are_refused",
    ),
)
HOSTILE_TEXT = Fault(
    "UIDs and names that are paths, commands or scripts",
    "0 escapes in files, pages and reports",
    _of(
        "integration/listener",
        "a_uid_that_is_none_is_refused",
        "a_hostile_ae_title_is_rejected_and_breaks_nothing",
    )
    + _of("unit/turned_away", "the_page_shows_it_and_runs_no_script")
    + _of("unit/web_accounts", "script_tags_in_names_are_text")
    + _of("acceptance/pages_viewer", "a_hostile_name_is_text"),
)
CRASHING_IMAGE = Fault(
    "one image of 100 crashes or hangs the decoder",
    "99 reported, 1 quarantined after three attempts",
    _of("faults/worker_limits", "1_of_100_is_quarantined_with_its_reason_and_99_are_answered")
    + _of("faults/worker_company"),
)
STALE_WORKER = Fault(
    "a worker is stopped past its lease, taken over, and goes on",
    "1 result, 1 report",
    _of("faults/worker_limits", "a_worker_stopped_past_its_lease_and_resumed_changes_nothing")
    + _of("faults/storage_race"),
)
PACS_DOWN = Fault(
    "the PACS is down for hours while 5,000 reports wait",
    "all delivered, in order within a study, none twice",
    _of("faults/pacs_faults", "200_reports_wait_for_a_pacs", "5000_reports_wait_for_a_pacs")
    + _of("integration/delivery", "versions_of_a_study_arrive_in_their_order"),
)
PACS_SILENT = Fault(
    "the PACS hangs, resets, or answers too late",
    "no thread is held past the time-out + 5 s; one copy",
    _of("faults/pacs_faults", "a_pacs_behind_a_bad_line_has_one_copy_and_holds_no_thread")
    + _of(
        "integration/delivery",
        "a_silent_pacs_holds_no_thread_and_gets_one_copy",
        "a_pacs_that_stops_reading_holds_no_thread",
    ),
)
PACS_REFUSES = Fault(
    "the PACS answers A700H, A900H, C000H, 0122H or B000H",
    "tried again, a dead letter, or stored, as the guide says",
    _of(
        "integration/delivery",
        "what_may_pass_is_tried_again",
        "a_refusal_is_a_dead_letter_that_can_be_retried_by_hand",
        "a_warning_counts_as_stored",
    ),
)
CLOCK = Fault(
    "the clock jumps by a day; summer time begins and ends",
    "no lease is touched; a schedule comes due once",
    _of("unit/duetimes") + _of("faults/loop_clock"),
)
TWO_SCHEDULERS = Fault(
    "two schedulers run at once",
    "one run for each due time",
    _of("integration/scheduler", "two_schedulers_make_one_run_of_each_due_time"),
)
DAMAGED_MODEL = Fault(
    "a model file has a changed byte, is cut short, or is another's",
    "refused; the old model serves on",
    _of("integration/switching", "a_damaged_bundle_leaves_the_old_one_serving")
    + _of(
        "faults/loop_processes",
        "a_damaged_candidate_ends_its_trial_with_an_alarm_and_never_serves",
    )
    + _of("unit/bundle"),
)
WRONG_TLS = Fault(
    "TLS 1.0 and 1.1; no certificate, a stranger's, an expired one, another AE title's",
    "refused",
    _of("integration/tls", "old_tls_is_refused", "a_wrong_certificate_is_refused"),
)
PAGES = Fault(
    "pages without a CSRF token, with a fixed session, 1,000 log-ins, every route by every role",
    "0 unauthorised reads or changes",
    _of("unit/web_routes") + _of("unit/web_no_change") + _of("unit/web_sign_in"),
)
ENDURANCE = Fault(
    "20,000 associations and bare connections, many of them broken off",
    "less than 1 MiB more memory per 1,000; file descriptors flat",
    _of("faults/endurance"),
)

FAULTS = (
    KILL, SYNC, DISK_FULL, DAMAGE, REPEATED, CONFLICT, SLOW_PEER, HUGE_PDU, SILENT_TLS, FLOOD,
    FUZZ, BOMB, HOSTILE_TEXT, CRASHING_IMAGE, STALE_WORKER, PACS_DOWN, PACS_SILENT, PACS_REFUSES,
    CLOCK, TWO_SCHEDULERS, DAMAGED_MODEL, WRONG_TLS, PAGES, ENDURANCE,
)  # fmt: skip
"""Every fault, in the order of the table."""
