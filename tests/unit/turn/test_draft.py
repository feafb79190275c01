"""What is made of Codex's reports: the answer, the record, and events that say each thing once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from codex_control.v1 import turns_pb2
from codex_supervisor.child import notifications as told
from codex_supervisor.child.items import (
    ContextCompactionItem,
    DynamicToolCallItem,
    ExitedReviewModeItem,
    ImageViewItem,
    McpToolCallItem,
    OtherItem,
    PlanItem,
    ReasoningItem,
    ThreadItem,
    WebSearchItem,
)
from codex_supervisor.child.notifications import ThreadTokenUsageUpdatedNotification
from codex_supervisor.store.records import CommandRecord, FileRecord, Usage
from codex_supervisor.turn.draft import MAX_RECORDED, OUTPUT_TAIL_CHARACTERS, Draft, Events
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.turn.told import PLACE, command, completed, delta, failure, file_change, says, started, usage, user


def new_draft(*, answer_limit: int = 1_000_000, show_reasoning: bool = True) -> Draft:
    return Draft(answer_limit, show_reasoning)


def fed(draft: Draft, *reports: told.Notification) -> Events:
    return [event for report in reports for event in draft.feed(report)]


def kinds(events: Events) -> list[str]:
    return [event.WhichOneof("event") or "" for event in events]


# --- the answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        ([], ""),
        ([("thinking aloud", "commentary"), ("the answer", "final_answer")], "the answer"),
        ([("the answer", "final_answer"), ("by the way", "commentary")], "the answer"),
        ([("part one", "partial_answer"), ("the answer", "final_answer")], "the answer"),
        ([("first", None), ("the answer", None)], "the answer"),
        ([("first", None), ("aside", "commentary")], "first"),
        ([("one", "commentary"), ("two", "commentary")], "two"),
        ([("the answer", "final_answer"), ("", "final_answer")], "the answer"),
        ([("the answer", "final_answer"), ("", None), ("an aside", "commentary")], "the answer"),
        ([("", None)], ""),
    ],
)
def test_the_answer_is_the_last_message_that_is_no_commentary(
    messages: list[tuple[str, str | None]], answer: str
) -> None:
    draft = new_draft()
    for number, (text, phase) in enumerate(messages):
        fed(draft, completed(says(f"m{number}", text, phase)))
    assert draft.answer() == answer


def test_an_unfinished_message_counts_as_far_as_it_came() -> None:
    draft = new_draft()
    fed(draft, completed(says("m1", "done", None)), started(says("m2", "", "final_answer")), delta("m2", "half of "))
    assert draft.answer() == "half of "
    fed(draft, delta("m2", "it"), completed(says("m2", "half of it")))
    assert draft.answer() == "half of it"


def test_the_phase_of_a_running_message_is_known_from_its_start() -> None:
    draft = new_draft()
    fed(draft, completed(says("m1", "the answer")), started(says("m2", "", "commentary")), delta("m2", "and now"))
    assert draft.answer() == "the answer"


def test_a_review_answers_with_its_text() -> None:
    draft = new_draft()
    events = fed(draft, completed(ExitedReviewModeItem(id="r", review="looks good")))
    assert (kinds(events), draft.answer()) == (["message"], "looks good")


def test_a_message_is_told_in_pieces_and_then_whole_once() -> None:
    draft = new_draft()
    whole = completed(says("m", "the answer"))
    events = fed(draft, started(says("m", "")), delta("m", "the "), delta("m", "answer"), whole, whole)
    assert kinds(events) == ["text", "text", "message"]
    assert [event.text.text for event in events[:2]] == ["the ", "answer"]
    assert (events[2].message.text, events[2].message.phase) == ("the answer", "final_answer")


# --- what a turn did ------------------------------------------------------------------------------------------------


def test_a_command_is_told_at_its_start_and_its_end_and_recorded_as_it_is_last() -> None:
    draft = new_draft()
    begun, ended = command("c", "inProgress"), command("c", exit_code=2, duration_ms=1001, aggregated_output="out")
    events = fed(draft, started(begun), started(begun), completed(ended), completed(ended))
    assert [event.command.status for event in events] == ["inProgress", "completed"]
    assert draft.commands == {"c": CommandRecord("c", "make", "completed", 2, 1.001, "out")}


def test_only_the_end_of_a_commands_output_is_kept() -> None:
    draft = new_draft()
    fed(draft, completed(command("c", aggregated_output="x" * 10_000 + "the end")))
    (record,) = draft.commands.values()
    assert len(record.output_tail) == OUTPUT_TAIL_CHARACTERS
    assert record.output_tail.endswith("xthe end")


def test_each_file_of_a_change_is_told_once_for_each_status() -> None:
    draft = new_draft()
    events = fed(
        draft,
        started(file_change("f", "/a", "/b", status="inProgress")),
        completed(file_change("f", "/a", "/b")),
        completed(file_change("f", "/a", "/b")),
    )
    assert [(event.file.path, event.file.status) for event in events] == [
        ("/a", "inProgress"), ("/b", "inProgress"), ("/a", "completed"), ("/b", "completed")
    ]  # fmt: skip
    assert list(draft.files.values()) == [FileRecord("f", path, "add", "completed") for path in ("/a", "/b")]


def test_past_the_limit_commands_and_files_are_told_and_not_recorded() -> None:
    draft = new_draft()
    for number in range(MAX_RECORDED + 1):
        assert len(fed(draft, started(command(f"c{number}", "inProgress")))) == 1
        assert len(fed(draft, completed(file_change(f"f{number}", "/a")))) == 1
        assert len(fed(draft, completed(ImageViewItem(id=f"t{number}", path="/i")))) == 1
    assert len(draft.commands) == len(draft.files) == len(draft.tools) == MAX_RECORDED
    # Those that are recorded still change.
    assert len(fed(draft, completed(command("c0")))) == 1
    assert draft.commands["c0"].status == "completed"


@pytest.mark.parametrize(
    ("item", "kind", "subject"),
    [
        (McpToolCallItem(id="t", server="docs", tool="find", status="completed"), "mcpToolCall", "docs.find"),
        (DynamicToolCallItem(id="t", tool="draw", status="completed"), "dynamicToolCall", "draw"),
        (WebSearchItem(id="t", query="cats"), "webSearch", "cats"),
        (ImageViewItem(id="t", path="/i.png"), "imageView", "/i.png"),
        (ContextCompactionItem(id="t"), "contextCompaction", "the conversation is shortened"),
    ],
)
def test_tools_are_told_at_their_start_and_their_end(item: ThreadItem, kind: str, subject: str) -> None:
    events = fed(new_draft(), started(item), started(item), completed(item), completed(item))
    assert [(event.tool.kind, event.tool.subject, event.tool.completed) for event in events] == [
        (kind, subject, False), (kind, subject, True)
    ]  # fmt: skip


def test_what_is_of_no_use_or_of_a_newer_codex_says_nothing() -> None:
    draft = new_draft()
    reports: list[told.Notification] = [
        started(user("turn-1")),
        completed(PlanItem(id="p", text="a plan")),
        completed(OtherItem(id="o", type="teleport")),
        told.OtherNotification(method="future/event"),
        told.TurnDiffUpdatedNotification(**PLACE, diff="-+"),
        told.CommandExecutionOutputDeltaNotification(**PLACE, item_id="c", delta="out"),
    ]
    assert fed(draft, *reports) == []
    assert draft.answer() == ""


def test_plans_and_warnings() -> None:
    plan = told.TurnPlanUpdatedNotification(**PLACE, plan=[told.TurnPlanStep(step="build", status="inProgress")])
    rerouted = told.ModelReroutedNotification(**PLACE, from_model="a", to_model="b", reason="load")
    events = fed(new_draft(), plan, told.WarningNotification(message="mind the gap"), rerouted)
    assert kinds(events) == ["plan", "warning", "warning"]
    assert [(step.text, step.status) for step in events[0].plan.steps] == [("build", "inProgress")]
    assert [event.warning.message for event in events[1:]] == [  # type: ignore[attr-defined]
        "mind the gap",
        "the provider answers with b in place of a: load",
    ]


def test_reasoning_is_told_where_it_is_wanted_and_recorded_in_any_case() -> None:
    def run(draft: Draft) -> Events:
        return fed(
            draft,
            told.ReasoningSummaryPartAddedNotification(**PLACE, item_id="r", summary_index=0),
            told.ReasoningSummaryTextDeltaNotification(**PLACE, item_id="r", delta="one", summary_index=0),
            told.ReasoningSummaryPartAddedNotification(**PLACE, item_id="r", summary_index=1),
            told.ReasoningSummaryTextDeltaNotification(**PLACE, item_id="r", delta="two", summary_index=1),
            completed(ReasoningItem(id="r", summary=["one", "two"])),
            completed(ReasoningItem(id="r2", summary=["three"])),
        )

    shown, hidden = new_draft(show_reasoning=True), new_draft(show_reasoning=False)
    assert "".join(event.reasoning.text for event in run(shown)) == "one\n\ntwo"
    assert run(hidden) == []
    assert shown.reasoning() == hidden.reasoning() == "one\n\ntwo\n\nthree"


def test_tokens_of_all_requests_of_the_turn_are_summed() -> None:
    draft = new_draft()
    events = fed(draft, usage(100, 10, window=9000, total=(5100, 510)), usage(1000, 1, total=(6100, 511)))
    assert [(event.usage.input, event.usage.output) for event in events] == [(100, 10), (1100, 11)]
    assert draft.usage == Usage(input=1100, output=11, context_window=9000)
    assert fed(draft, usage(1000, 1, total=(6100, 511))) == [], "told again, it is no second request"


def test_tokens_that_were_used_while_nobody_listened_are_counted() -> None:
    draft = new_draft()
    draft.used_before = Usage(input=5000, output=500)
    fed(draft, usage(100, 10, total=(5100, 510)), usage(1, 1, total=(7000, 600)))
    assert draft.usage == Usage(input=2000, output=100)
    draft.catch_up_usage(usage(1, 1, total=(7500, 650)).token_usage)
    assert draft.usage == Usage(input=2500, output=150)
    unknown = new_draft()
    assert unknown.catch_up_usage(usage(1, 1, total=(7000, 600)).token_usage) == []


def test_a_count_that_begins_anew_takes_nothing_back() -> None:
    """As Codex begins it where the context is full."""
    draft = new_draft()
    fed(draft, usage(100, 10, total=(5100, 510)), usage(7, 3, total=(0, 0)), usage(20, 2, total=(20, 2)))
    assert draft.usage == Usage(input=127, output=15)


# --- errors and limits ----------------------------------------------------------------------------------------------


def test_a_retry_is_counted_and_voids_what_was_begun() -> None:
    draft = new_draft()
    fed(draft, completed(says("m0", "before", "commentary")), delta("m1", "half of"))
    events = fed(draft, failure("stream cut", will_retry=True), delta("m2", "half of it"), completed(says("m2", "all")))
    assert kinds(events) == ["retry", "text", "message"]
    assert (events[0].retry.count, events[0].retry.message) == (1, "stream cut")
    assert list(events[0].retry.superseded_item_ids) == ["m1"]
    assert draft.answer() == "all"
    assert fed(draft, failure("again", will_retry=True))[0].retry.count == 2


def test_a_message_that_begins_anew_voids_the_one_that_never_ended() -> None:
    """As where Codex tried again while no supervisor listened."""
    earlier, later = new_draft(), new_draft()
    for event in fed(earlier, completed(says("m0", "before", "commentary")), delta("m1", "half of")):
        later.recall(event)
    later.mute_unfinished()
    events = fed(later, started(says("m2", "")), delta("m2", "half of it"), completed(says("m2", "half of it")))
    assert kinds(events) == ["retry", "text", "message"]
    assert list(events[0].retry.superseded_item_ids) == ["m1"]
    assert events[0].retry.count == 0, "it was not heard of; should it still be, it counts then"
    assert later.void_left() == []
    assert (list(later.messages), later.answer()) == (["m0", "m2"], "half of it")


def test_a_message_that_the_conversation_has_voids_the_one_before_that_it_has_not() -> None:
    draft = new_draft()
    fed(draft, completed(says("m0", "before", "commentary")), delta("m1", "half of"))
    events = draft.restore([says("m0", "before", "commentary"), says("m2", "half of it")])
    assert kinds(events) == ["retry", "message"]
    assert list(events[0].retry.superseded_item_ids) == ["m1"]
    assert kinds(fed(draft, failure("stream cut", will_retry=True))) == ["retry"]
    assert draft.retries == 1


def test_what_is_left_at_the_end_is_void_and_what_was_never_streamed_is_not_named() -> None:
    draft = new_draft()
    fed(draft, started(says("m1", "", None)), started(says("m2", "", "commentary")), delta("m2", "half"))
    (event,) = draft.void_left()
    assert list(event.retry.superseded_item_ids) == ["m2"]
    assert draft.void_left() == []


def test_the_last_error_is_kept_for_the_outcome_and_not_told() -> None:
    draft = new_draft()
    assert fed(draft, delta("m", "half"), failure("no more", "usageLimitExceeded", will_retry=False))[1:] == []
    assert draft.last_error is not None
    assert draft.last_error.kind == "usageLimitExceeded"
    assert draft.answer() == "half"


def test_an_answer_over_the_limit_is_noticed_and_not_held() -> None:
    draft = new_draft(answer_limit=10)
    fed(draft, delta("m", "0123456789"))
    assert not draft.over_limit()
    fed(draft, *(delta("m", "x" * 1000) for _ in range(100)))
    assert draft.over_limit()
    assert len(draft.answer()) <= 1010
    whole = new_draft(answer_limit=10)
    fed(whole, completed(says("m", "0123456789a")))
    assert whole.over_limit()


# --- a turn in two pieces -------------------------------------------------------------------------------------------


def test_text_that_was_streamed_before_a_death_is_void_where_the_turn_says_it_anew() -> None:
    draft = new_draft()
    fed(draft, completed(says("m1", "kept", "commentary")), delta("m2", "lost half"))
    assert draft.drop_unfinished() == ["m2"]
    assert draft.restore([user("turn-1"), says("m1", "kept", "commentary")]) == []
    fed(draft, delta("m3", "the answer"), completed(says("m3", "the answer")))
    assert draft.answer() == "the answer"


def test_a_message_that_was_missed_in_part_is_told_whole_at_its_end() -> None:
    earlier, later = new_draft(), new_draft()
    for event in fed(earlier, delta("m", "one, ")):
        later.recall(event)
    later.mute_unfinished()
    events = fed(later, delta("m", "three"), completed(says("m", "one, two, three")))
    assert kinds(events) == ["message"]
    assert later.answer() == "one, two, three"


def test_what_is_still_on_its_way_of_what_the_conversation_has_whole_says_nothing() -> None:
    draft = new_draft()
    tool = WebSearchItem(id="t", query="cats")
    kept: list[ThreadItem] = [
        says("m1", "the answer"),
        command("c"),
        file_change("f", "/a"),
        tool,
        says("m2", "an aside", "commentary"),
    ]
    assert len(draft.restore(kept)) == 5
    late: list[told.Notification] = [
        started(says("m1", "", None)),
        delta("m1", "the answer"),
        started(command("c", "inProgress")),
        started(file_change("f", "/a", status="inProgress")),
        started(tool),
        started(says("m2", "", None)),
        delta("m2", "an aside"),
    ]
    assert fed(draft, *late) == []
    assert draft.answer() == "the answer", "the aside is still one"
    assert fed(draft, *(completed(item) for item in kept)) == []
    assert draft.commands["c"].status == "completed"
    assert draft.files["f", "/a"].status == "completed"


def test_what_a_recovery_or_a_retry_made_void_stays_void_for_the_next_supervisor() -> None:
    draft = new_draft()
    for event in fed(new_draft(), delta("m1", "void"), failure("cut", will_retry=True), delta("m2", "void too")):
        draft.recall(event)
    assert draft.retries == 1
    draft.recall(turns_pb2.TurnEvent(recovery=turns_pb2.RecoveryReport(superseded_item_ids=["m2", "unknown"])))
    assert draft.messages == {}
    assert draft.answer() == ""


@dataclass
class Stream:
    """What one turn of Codex reports, with the items that are complete after each report."""

    reports: list[told.Notification] = field(default_factory=list)
    items: list[ThreadItem | None] = field(default_factory=list)
    """The item that its report completes, or None."""

    def add(self, report: told.Notification, item: ThreadItem | None = None) -> None:
        self.reports.append(report)
        self.items.append(item)

    def kept(self, until: int) -> list[ThreadItem]:
        """What the thread holds after so many reports."""
        return [item for item in self.items[:until] if item is not None]


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
milliseconds = st.integers(0, 100_000)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """A turn with messages one after the other, other items around them, retries, and a final answer."""
    stream = Stream()
    running: list[ThreadItem] = []
    number, used = 0, 0

    def other_items() -> None:
        nonlocal number, used
        for kind in draw(
            st.lists(st.sampled_from(["command", "file", "tool", "usage", "reasoning", "end"]), max_size=3)
        ):
            number += 1
            match kind:
                case "command":
                    stream.add(started(command(f"c{number}", "inProgress")))
                    output, exit_code = draw(texts), draw(st.integers(0, 255))
                    took = draw(milliseconds)
                    running.append(
                        command(f"c{number}", aggregated_output=output, exit_code=exit_code, duration_ms=took)
                    )
                case "file":
                    stream.add(started(file_change(f"f{number}", "/a", "/b", status="inProgress")))
                    running.append(file_change(f"f{number}", "/a", "/b"))
                case "tool":
                    stream.add(started(WebSearchItem(id=f"t{number}", query="cats")))
                    running.append(WebSearchItem(id=f"t{number}", query="cats"))
                case "usage":
                    used += number
                    stream.add(usage(number, number, total=(BEFORE + used, BEFORE + used)))
                case "reasoning":
                    item = ReasoningItem(id=f"r{number}", summary=[draw(texts)])
                    stream.add(completed(item), item)
                case _:
                    if running:
                        item_over = running.pop(draw(st.integers(0, len(running) - 1)))
                        stream.add(completed(item_over), item_over)

    def say(phase: str | None) -> None:
        nonlocal number
        number += 1
        item_id = f"m{number}"
        pieces = draw(st.lists(texts, min_size=1, max_size=4))
        # Codex may know the phase only at the end.
        stream.add(started(says(item_id, "", draw(st.sampled_from([phase, None])))))
        for piece in pieces:
            stream.add(delta(item_id, piece))
            if draw(st.booleans()):
                other_items()
        if draw(st.integers(0, 4)) == 4:
            stream.add(failure("stream cut", will_retry=True))
            say(phase)
        else:
            whole = says(item_id, "".join(pieces), phase)
            stream.add(completed(whole), whole)

    for phase in [*draw(st.lists(st.sampled_from(["commentary", None]), max_size=3)), "final_answer"]:
        other_items()
        say(phase)
    other_items()
    for left in running:
        stream.add(completed(left), left)
    return stream


BEFORE = 1000
"""Tokens that the conversation had used before the turn, in and out."""


@settings(max_examples=200)
@given(stream=streams(), data=st.data())
def test_a_turn_that_changes_hands_reports_nothing_twice_and_gives_the_same_answer(
    stream: Stream, data: st.DataObject
) -> None:
    died = data.draw(st.integers(0, len(stream.reports)), "the earlier supervisor died after so many reports")
    adopted = data.draw(st.integers(died, len(stream.reports)), "the next one listens from here on")
    listed = data.draw(st.integers(adopted, len(stream.reports)), "and reads the conversation as it is at this point")

    alone = new_draft()
    fed(alone, *stream.reports)

    recorded = fed(new_draft(), *stream.reports[:died])
    later = new_draft()
    later.used_before = Usage(input=BEFORE, output=BEFORE)
    for event in recorded:
        # As it comes out of the journal.
        later.recall(turns_pb2.TurnEvent.FromString(event.SerializeToString()))
    caught_up = later.restore(stream.kept(listed))
    later.mute_unfinished()
    events = recorded + caught_up + fed(later, *stream.reports[adopted:])

    assert later.answer() == alone.answer()
    assert later.commands == alone.commands
    assert later.files == alone.files
    missed = sum(isinstance(report, ThreadTokenUsageUpdatedNotification) for report in stream.reports[died:adopted])
    heard = sum(isinstance(report, ThreadTokenUsageUpdatedNotification) for report in stream.reports[adopted:])
    if heard or not missed:
        assert later.usage == alone.usage
    if died == adopted:
        assert later.retries == alone.retries
    for kind in ("message", "command", "file", "tool"):
        said = Counter(event.SerializeToString() for event in events if event.WhichOneof("event") == kind)
        assert set(said.values()) <= {1}, f"a {kind} is reported twice"
    over: set[tuple[str, str]] = set()
    for event in events:
        kind = event.WhichOneof("event") or ""
        if kind not in ("command", "file", "tool"):
            continue
        report = getattr(event, kind)
        key = (report.item_id, getattr(report, "path", ""))
        runs = not report.completed if kind == "tool" else report.status == "inProgress"
        assert not (runs and key in over), f"a {kind} runs again after its end"
        if not runs:
            over.add(key)
    whole = {event.message.item_id: event.message.text for event in events if event.HasField("message")}
    streamed: dict[str, str] = {}
    for event in events:
        if event.HasField("text"):
            streamed[event.text.item_id] = streamed.get(event.text.item_id, "") + event.text.text
    for item_id, text in streamed.items():
        if item_id in whole:
            assert whole[item_id].startswith(text), "pieces have no gap and none comes twice"
    assert whole == {item.id: item.text for item in stream.kept(len(stream.items)) if hasattr(item, "text")}
    void = {item_id for event in [*events, *later.void_left()] for item_id in event.retry.superseded_item_ids}
    assert void == set(streamed) - set(whole), "what never ends is void, and nothing else"


@given(stream=streams(), data=st.data())
def test_a_child_that_dies_leaves_what_it_completed(stream: Stream, data: st.DataObject) -> None:
    """After a death the thread gives the complete items again; the text that was begun is void."""
    died = data.draw(st.integers(0, len(stream.reports)), "the child died after so many reports")
    draft = new_draft()
    fed(draft, *stream.reports[:died])
    before = dict(draft.commands)
    assert draft.restore(stream.kept(died)) == [], "it was all told already"
    assert draft.commands == before
    void = draft.drop_unfinished()
    assert draft.unfinished_items() == []
    assert not set(void) & {item.id for item in stream.kept(died)}
