"""The list of models in each dialect's form.

Codex's own catalogue (`{"models": […]}`) is not made: it carries the instructions of each model, and ours would take
the place of Codex's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from codex_gateway.dialect.neutral import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_gateway.dialect.neutral import JsonObject


class ListedModel(Struct, frozen=True):
    """A model under the name that clients use."""

    id: str
    display_name: str = ""
    """The id where empty."""
    created_s: int = 0
    """Unix time; 0 where unknown."""
    owner: str = "codex-gateway"


def models_answer(
    models: Sequence[ListedModel], dialect: Dialect, *, after_id: str | None = None, limit: int | None = None
) -> JsonObject:
    """What `GET /v1/models` answers.

    :param after_id: Messages: only what comes behind this model
    :param limit: Messages: how many at most
    """
    if dialect is not Dialect.MESSAGES:
        return {"object": "list", "data": [model_answer(model, dialect) for model in models]}
    start = next((n + 1 for n, model in enumerate(models) if model.id == after_id), 0) if after_id else 0
    end = len(models) if limit is None else min(len(models), start + max(limit, 1))
    page = models[start:end]
    return {
        "data": [model_answer(model, dialect) for model in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": end < len(models),
    }


def model_answer(model: ListedModel, dialect: Dialect) -> JsonObject:
    """What `GET /v1/models/<id>` answers."""
    if dialect is not Dialect.MESSAGES:
        return {"id": model.id, "object": "model", "created": model.created_s, "owned_by": model.owner}
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name or model.id,
        "created_at": datetime.fromtimestamp(model.created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
    }
