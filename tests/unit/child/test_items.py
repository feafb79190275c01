"""Items of a Codex that we know, and of one that we do not."""

from __future__ import annotations

import msgspec
import pytest
from codex_supervisor.child.items import (
    AgentMessageItem,
    CommandExecutionItem,
    ContextCompactionItem,
    FileChangeItem,
    FileUpdateChange,
    OtherItem,
    PatchChangeKind,
    ThreadItem,
    UserMessageItem,
    decode_item,
)


@pytest.mark.parametrize(
    ("text", "item"),
    [
        (
            '{"type":"userMessage","id":"1","clientId":"c","content":[{"type":"text","text":"hi"}]}',
            UserMessageItem(id="1", client_id="c"),
        ),
        (
            '{"id":"2","text":"a","phase":"final_answer","type":"agentMessage","news":{"x":1}}',
            AgentMessageItem(id="2", text="a", phase="final_answer"),
        ),
        (
            '{"type":"commandExecution","id":"3","command":"ls","cwd":"/","status":"brandNew","exitCode":null}',
            CommandExecutionItem(id="3", command="ls", cwd="/", status="brandNew"),
        ),
        (
            (
                '{"type":"fileChange","id":"4","status":"completed",'
                '"changes":[{"path":"/a","diff":"+","kind":{"type":"update","move_path":"/b"}}]}'
            ),
            FileChangeItem(
                id="4",
                status="completed",
                changes=[FileUpdateChange(path="/a", diff="+", kind=PatchChangeKind(type="update", move_path="/b"))],
            ),
        ),
        ('{"type":"contextCompaction","id":"5"}', ContextCompactionItem(id="5")),
        ('{"type":"teleport","id":"6","to":"Mars"}', OtherItem(id="6", type="teleport")),
        # A known type whose field changed: known to exist, not more.
        ('{"type":"agentMessage","id":"7","text":["in","pieces"]}', OtherItem(id="7", type="agentMessage")),
    ],
)
def test_decode_item(text: str, item: ThreadItem) -> None:
    assert decode_item(msgspec.Raw(text.encode())) == item


def test_what_is_no_item_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_item(msgspec.Raw(b"[]"))
