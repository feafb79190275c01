"""Reviews: what is reviewed, in Codex's words and in ours, and what became of one after a death. Pure.

Codex runs a review in a conversation of its own, beside the thread, and tells the thread only how it ended. So a review
that was cut off cannot go on half way: it is begun again. Facts measured on Codex 0.163:

- Its items come under the id that `review/start` returned; `turn/started` names another one, the reviewer's, and
  `turn/interrupt` wants that one. `turn/steer` is refused.
- While it runs, the thread lists the reviewer's turn and not ours; afterwards it lists ours with the review, and the
  reviewer's as interrupted.
- Killed in the middle, the thread keeps the reviewer's commands and nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from codex_control.errors import BadInput, LimitExceeded
from codex_control.v1 import turns_pb2

from codex_supervisor.child.conversation import Turn
from codex_supervisor.child.items import AgentMessageItem, ExitedReviewModeItem, ThreadItem, UserMessageItem
from codex_supervisor.store.records import ReviewKind, ReviewRecord
from codex_supervisor.turn.recovery import CutOff, Finding, Over, StillRuns, Unsent

NO_REVIEW = "Reviewer failed to output a response."
"""What Codex gives as the review where there is none: it failed, was interrupted, or the model said nothing."""

# Names of branches, tags and commits, with git's own suffixes (HEAD~2, main@{1}). The rest means something to a shell,
# and Codex may well write the name into a command.
_REVISION = re.compile(r"""[^-\s\x00-\x1f\x7f'"`$;|&<>()\\*?\[\]!][^\s\x00-\x1f\x7f'"`$;|&<>()\\*?\[\]!]{0,254}""")


def checked_review(target: turns_pb2.ReviewTarget, focus: str, limit: int) -> ReviewRecord:
    """Return what shall be reviewed; `limit` is the most characters of a text. Raises `BadInput`, `LimitExceeded`."""
    match target.WhichOneof("target"):
        case "base":
            kind, name = ReviewKind.BASE, _checked_revision(target.base)
        case "commit":
            kind, name = ReviewKind.COMMIT, _checked_revision(target.commit)
        case "instructions":
            kind, name = ReviewKind.INSTRUCTIONS, _checked_text(target.instructions, limit)
            if not name.strip():
                raise BadInput(what="it is not said what to review", next_step="say it, or review what is uncommitted")
        case _:
            kind, name = ReviewKind.UNCOMMITTED, ""
    return ReviewRecord(kind, name, _checked_text(focus, limit).strip())


def _checked_revision(name: str) -> str:
    if not _REVISION.fullmatch(name):
        raise BadInput(
            what=f"{name[:80]!r} cannot be a branch, tag or commit",
            why="it has 1 to 255 characters, none of them white space or special to a shell, and no - at its beginning",
            next_step="give a name that git knows, such as main or HEAD~2",
        )
    return name


def _checked_text(text: str, limit: int) -> str:
    if "\0" in text:
        raise BadInput(what="the text holds a NUL character", next_step="send text, not binary data")
    if len(text) > limit:
        raise LimitExceeded(
            what=f"the text has {len(text):,} characters",
            why=f"the limit is {limit:,}",
            next_step="put it into a file, and say where it is",
        )
    return text


def description(review: ReviewRecord) -> str:
    """Say in words what is reviewed; it stands for the prompt in the history."""
    match review.kind:
        case ReviewKind.BASE:
            subject = f"review of the changes against {review.name}"
        case ReviewKind.COMMIT:
            subject = f"review of commit {review.name}"
        case ReviewKind.INSTRUCTIONS:
            subject = f"review: {review.name}"
        case _:
            subject = "review of the uncommitted changes"
    return f"{subject}; above all: {review.focus}" if review.focus else subject


def review_message(review: ReviewRecord | None) -> turns_pb2.ReviewTarget | None:
    """Return what is reviewed as a message of the API."""
    match review:
        case None:
            return None
        case ReviewRecord(kind=ReviewKind.BASE, name=name):
            return turns_pb2.ReviewTarget(base=name)
        case ReviewRecord(kind=ReviewKind.COMMIT, name=name):
            return turns_pb2.ReviewTarget(commit=name)
        case ReviewRecord(kind=ReviewKind.INSTRUCTIONS, name=name):
            return turns_pb2.ReviewTarget(instructions=name)
        case _:
            return turns_pb2.ReviewTarget(uncommitted=True)


def codex_target(review: ReviewRecord) -> dict[str, str]:
    """Return the `target` of `review/start`.

    Codex takes a focus in no target but `custom`, whose text then has to say what its own prompts for the others do.
    """
    if review.focus:
        return {"type": "custom", "instructions": f"{_instructions(review)}\n\nAbove all, mind this: {review.focus}"}
    match review.kind:
        case ReviewKind.BASE:
            return {"type": "baseBranch", "branch": review.name}
        case ReviewKind.COMMIT:
            return {"type": "commit", "sha": review.name}
        case ReviewKind.INSTRUCTIONS:
            return {"type": "custom", "instructions": review.name}
        case _:
            return {"type": "uncommittedChanges"}


def _instructions(review: ReviewRecord) -> str:
    match review.kind:
        case ReviewKind.BASE:
            return (
                f"Review the code changes against the base branch '{review.name}'. Find the merge base with "
                f"`git merge-base HEAD {review.name}`, then run `git diff` against it. Provide prioritized, actionable "
                "findings."
            )
        case ReviewKind.COMMIT:
            return (
                f"Review the code changes introduced by commit {review.name}. Provide prioritized, actionable findings."
            )
        case ReviewKind.INSTRUCTIONS:
            return review.name
        case _:
            return (
                "Review the current code changes (staged, unstaged, and untracked files) and provide prioritized "
                "findings."
            )


def find_review(recent: Sequence[Turn], codex_turn_id: str, *, active: bool) -> Finding:
    """Return what became of a review whose turn is `codex_turn_id`, empty where it is not known.

    `recent` are the thread's turns with their items, newest first; `active` says whether the thread was at work just
    before they were listed.
    """
    position = next((n for n, turn in enumerate(recent) if turn.id == codex_turn_id), None)
    if position is None:
        reviewer = next((turn for turn in recent[:1] if turn.status == "inProgress"), None)
        if active:
            return StillRuns(codex_turn_id, _work(reviewer), active_turn_id=reviewer.id if reviewer else "")
        # An old turn may say "in progress" for ever; what counts is that the thread is not at work.
        if not codex_turn_id:
            return Unsent()
        return CutOff(codex_turn_id, _work(recent[0] if recent else None))
    turn = recent[position]
    items = turn.decode_items()
    # The reviewer's own turn stands behind it.
    reviewer = recent[position + 1] if position + 1 < len(recent) else None
    kept = [*_work(reviewer), *items]
    if any(isinstance(item, ExitedReviewModeItem) and item.review != NO_REVIEW for item in items):
        # It has said what it has to say, however Codex came to end.
        return Over(msgspec.structs.replace(turn, status="completed"), kept)
    return Over(turn, kept) if turn.status in ("completed", "failed") else CutOff(codex_turn_id, kept)


def _work(reviewer: Turn | None) -> list[ThreadItem]:
    """Return what a reviewer did, without its words, which are for Codex; nothing where it is no reviewer's turn."""
    items = reviewer.decode_items() if reviewer is not None else []
    if not any(isinstance(item, UserMessageItem) and item.client_id is None for item in items):
        return []
    return [item for item in items if not isinstance(item, AgentMessageItem | UserMessageItem)]
