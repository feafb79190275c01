"""The chaos model: the stub model server, answering by the prompt alone. A process of its own that is never killed.

`python -m tests.faults.chaos.model` prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys

from codex_supervisor.demo.responses import ModelRequest

from tests.faults.chaos.questions import steps_for
from tests.support.model_script import Step
from tests.support.stub_model import StubModel


class ChaosModel(StubModel):
    """Answers every question of the chaos as it must be answered."""

    def _take_script(self, request: ModelRequest) -> tuple[Step, ...]:
        return steps_for(request.user_texts, continues=bool(request.tool_outputs))


async def _serve() -> None:
    async with ChaosModel() as model:
        print(model.port, flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()


if __name__ == "__main__":
    asyncio.run(_serve())
