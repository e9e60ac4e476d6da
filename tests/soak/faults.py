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


KILL = Fault(
    "a process is killed (`kill -9`) at any step",
    "at least 200 points; 0 acknowledged images lost, 0 reports twice",
    ("tests/faults/test_service_kill.py", "tests/faults/test_storage_kill.py"),
)
SYNC = Fault(
    "the disk fails at a sync",
    "never a success; the process ends within 1 s",
    (
        "tests/faults/test_service_disk.py::test_a_sync_that_fails_is_never_acknowledged_and_ends_the_listener",
        "tests/faults/test_storage_disk.py::test_a_failed_sync_is_never_acknowledged",
    ),
)
DISK_FULL = Fault(
    "the disk is full",
    "A700H or a rejection, nothing else; accepted again within 10 s of space",
    ("tests/faults/test_service_disk.py::test_a_full_disk_is_answered_a700_and_taken_from_again_when_there_is_space",
     "tests/faults/test_storage_disk.py::test_a_full_disk_refuses_and_accepts_again_when_there_is_space",
     "tests/integration/test_listener.py::test_no_space_is_a700_and_nothing_is_kept"),
)  # fmt: skip
DAMAGE = Fault(
    "a byte of a stored object or of the database changes",
    "found at start or at use, raised, never reported on",
    (
        "tests/integration/test_care.py",
        "tests/integration/test_delivery.py::test_a_damaged_report_is_not_sent",
    ),
)
REPEATED = Fault(
    "one image comes 100 times on five associations",
    "1 job, 1 report",
    (
        "tests/faults/test_service_hostile.py",
        "tests/integration/test_listener.py::test_the_same_image_from_another_sender_is_a_repetition",
    ),
)
CONFLICT = Fault(
    "other pixels come under the same UID",
    "both kept; quarantine and alarm",
    (
        "tests/acceptance/test_service.py::test_other_pixels_under_a_known_uid_are_raised",
        "tests/integration/test_listener.py::test_other_pixels_under_one_uid_are_kept_and_quarantined",
    ),
)
SLOW_PEER = Fault(
    "peers that dribble: 12 send three bytes, others a byte each half second",
    "a good peer is done within 1 s of its usual time; threads and sockets go back to before",
    (
        "tests/integration/test_listener.py::test_a_pdu_that_does_not_come_to_its_end_is_not_awaited",
    ),
)
HUGE_PDU = Fault(
    "a PDU header that announces 4 GiB; fragments without end",
    "less than 8 MiB more memory; the connection is closed",
    ("tests/integration/test_listener.py::test_a_header_that_announces_4_gib_is_not_believed",),
)
SILENT_TLS = Fault(
    "a TLS client that says nothing",
    "ten echoes beside it, each answered within 2 s",
)
FLOOD = Fault(
    "1,000 associations at 50 a second where 20 are allowed",
    "20 served, the others rejected at once; less than 200 MiB more memory",
    (
        "tests/integration/test_listener.py::test_an_association_over_the_limit_is_rejected_and_the_others_go_on",
    ),
)
FUZZ = Fault(
    "changed PDUs and changed DICOM files",
    "the listener never ends; a file's child ends within 20 s",
    ("tests/properties/test_pixels_fuzz.py", "tests/properties/test_headers.py"),
)
BOMB = Fault(
    "nested sequences, a deflate bomb, huge rows x columns x frames",
    "quarantined before memory is taken",
    (
        "tests/faults/test_service_hostile.py",
        "tests/properties/test_pixels_fuzz.py::test_sequences_nested_200_deep_are_undecodable",
    ),
)
HOSTILE_TEXT = Fault(
    "UIDs and names that are paths, commands or scripts",
    "0 escapes in files, pages and reports",
    ("tests/integration/test_listener.py::test_a_uid_that_is_none_is_refused",),
)
CRASHING_IMAGE = Fault(
    "one image of 100 crashes or hangs the decoder",
    "99 reported, 1 quarantined after three attempts",
    ("tests/faults/test_worker_company.py", "tests/faults/test_worker_limits.py"),
)
STALE_WORKER = Fault(
    "a worker is stopped past its lease, taken over, and goes on",
    "1 result, 1 report",
    (
        "tests/faults/test_storage_race.py",
        "tests/faults/test_worker_limits.py::test_a_worker_stopped_past_its_lease_and_resumed_changes_nothing",
    ),
)
PACS_DOWN = Fault(
    "the PACS is down for hours while 5,000 reports wait",
    "all delivered, in order within a study, none twice",
    ("tests/faults/test_pacs_faults.py::test_200_reports_wait_for_a_pacs",
     "tests/faults/test_pacs_faults.py::test_5000_reports_wait_for_a_pacs",
     "tests/integration/test_delivery.py::test_a_pacs_that_is_down_gets_all_of_it_when_it_is_back",
     "tests/integration/test_delivery.py::test_versions_of_a_study_arrive_in_their_order"),
)  # fmt: skip
PACS_SILENT = Fault(
    "the PACS hangs, resets, or answers too late",
    "no thread is held past the time-out + 5 s; one copy",
    ("tests/faults/test_pacs_faults.py::test_a_pacs_behind_a_bad_line_has_one_copy_and_holds_no_thread",
     "tests/integration/test_delivery.py::test_a_silent_pacs_holds_no_thread_and_gets_one_copy",
     "tests/integration/test_delivery.py::test_a_pacs_that_stops_reading_holds_no_thread"),
)  # fmt: skip
PACS_REFUSES = Fault(
    "the PACS answers A700H, A900H, C000H, 0122H or B000H",
    "tried again, a dead letter, or stored, as the guide says",
    ("tests/integration/test_delivery.py::test_what_may_pass_is_tried_again",
     "tests/integration/test_delivery.py::test_a_refusal_is_a_dead_letter_that_can_be_retried_by_hand",
     "tests/integration/test_delivery.py::test_a_warning_counts_as_stored"),
)  # fmt: skip
CLOCK = Fault(
    "the clock jumps by a day; summer time begins and ends",
    "no lease is touched; a schedule comes due once",
    ("tests/unit/test_duetimes.py",),
)
TWO_SCHEDULERS = Fault(
    "two schedulers run at once",
    "one run for each due time",
    ("tests/integration/test_scheduler.py::test_two_schedulers_make_one_run_of_each_due_time",),
)
DAMAGED_MODEL = Fault(
    "a model file has a changed byte, is cut short, or is another's",
    "refused; the old model serves on",
    ("tests/integration/test_switching.py::test_a_damaged_bundle_leaves_the_old_one_serving",
     "tests/unit/test_bundle.py"),
)  # fmt: skip
WRONG_TLS = Fault(
    "TLS 1.0 and 1.1; no certificate, a stranger's, an expired one",
    "refused",
)
PAGES = Fault(
    "pages without a CSRF token, with a fixed session, 1,000 log-ins, every route by every role",
    "0 unauthorised reads or changes",
    ("tests/unit/test_web_routes.py", "tests/unit/test_web_sign_in.py"),
)
ENDURANCE = Fault(
    "20,000 associations and bare connections, many of them broken off",
    "less than 1 MiB more memory per 1,000; file descriptors flat",
    ("tests/faults/test_endurance.py",),
)

FAULTS = (
    KILL, SYNC, DISK_FULL, DAMAGE, REPEATED, CONFLICT, SLOW_PEER, HUGE_PDU, SILENT_TLS, FLOOD,
    FUZZ, BOMB, HOSTILE_TEXT, CRASHING_IMAGE, STALE_WORKER, PACS_DOWN, PACS_SILENT, PACS_REFUSES,
    CLOCK, TWO_SCHEDULERS, DAMAGED_MODEL, WRONG_TLS, PAGES, ENDURANCE,
)  # fmt: skip
"""Every fault, in the order of the table."""
