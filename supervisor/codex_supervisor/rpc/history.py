"""The History service: shows, searches, exports and clears what was asked and answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from codex_control.errors import BadInput
from codex_control.v1 import history_pb2, history_pb2_grpc, instances_pb2

from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.rpc.turns import page_size
from codex_supervisor.turn.messages import turn_message

Context = grpc.aio.ServicerContext[Any, Any]

_DEFAULT_PAGE = 20
_MAX_SEARCH_CHARACTERS = 1000


class HistoryServicer(history_pb2_grpc.HistoryServicer):
    """Reads and clears what was asked and answered."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._store = fleet.house.store

    def _instance(self, ref: instances_pb2.InstanceRef, *, given: bool) -> str | None:
        return self._fleet.find(ref).record.id if given else None

    async def Page(self, request: history_pb2.PageRequest, context: Context) -> history_pb2.PageResponse:
        """See history.proto."""
        instance = self._instance(request.instance, given=request.HasField("instance"))
        size = page_size(request.page_size, _DEFAULT_PAGE)
        records, token = await self._store.history_page(instance, size, request.page_token)
        return history_pb2.PageResponse(entries=[turn_message(turn) for turn in records], next_page_token=token)

    async def Search(self, request: history_pb2.SearchRequest, context: Context) -> history_pb2.SearchResponse:
        """See history.proto."""
        if not request.text.strip():
            raise BadInput(what="nothing to search for", next_step="give a text, or page through the history")
        if len(request.text) > _MAX_SEARCH_CHARACTERS:
            raise BadInput(
                what="the text is too long",
                why=f"at most {_MAX_SEARCH_CHARACTERS} characters are searched",
                next_step="search for less",
            )
        instance = self._instance(request.instance, given=request.HasField("instance"))
        size = page_size(request.page_size, _DEFAULT_PAGE)
        records, token = await self._store.history_search(instance, request.text, size, request.page_token)
        return history_pb2.SearchResponse(entries=[turn_message(turn) for turn in records], next_page_token=token)

    async def Export(
        self, request: history_pb2.ExportRequest, context: Context
    ) -> AsyncIterator[history_pb2.ExportResponse]:
        """See history.proto."""
        instance = self._instance(request.instance, given=request.HasField("instance"))
        async for record in self._store.history_export(instance):
            yield history_pb2.ExportResponse(entry=turn_message(record))

    async def Clear(self, request: history_pb2.ClearRequest, context: Context) -> history_pb2.ClearResponse:
        """See history.proto."""
        instance = self._fleet.find(request.instance).record.id
        return history_pb2.ClearResponse(deleted=await self._store.history_clear(instance))
