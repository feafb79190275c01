"""Case 24: the list of models in each dialect's form, and the client's name for a rewritten model."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import ModelInfo
from codex_gateway.dialect.convert import Dialect, Facts, convert_request
from codex_gateway.dialect.models import ListedModel, model_answer, models_answer
from openai.types import Model

MODELS = [ListedModel("claude-x", "Claude X", 1_700_000_000), ListedModel("gpt-x"), ListedModel("glm-x")]


def test_anthropics_form() -> None:
    answer = models_answer(MODELS, Dialect.MESSAGES)
    read = [ModelInfo.model_validate(model) for model in answer["data"]]
    assert [(model.id, model.display_name) for model in read] == [
        ("claude-x", "Claude X"),
        ("gpt-x", "gpt-x"),
        ("glm-x", "glm-x"),
    ]
    assert read[0].created_at.timestamp() == 1_700_000_000
    assert (answer["first_id"], answer["last_id"], answer["has_more"]) == ("claude-x", "glm-x", False)


def test_anthropics_pages() -> None:
    first = models_answer(MODELS, Dialect.MESSAGES, limit=2)
    assert (first["last_id"], first["has_more"]) == ("gpt-x", True)
    rest = models_answer(MODELS, Dialect.MESSAGES, after_id="gpt-x", limit=2)
    assert (rest["first_id"], rest["has_more"]) == ("glm-x", False)
    assert models_answer([], Dialect.MESSAGES) == {"data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.RESPONSES])
def test_openais_form(dialect: Dialect) -> None:
    answer = models_answer(MODELS, dialect)
    assert answer["object"] == "list"
    assert [Model.model_validate(model, strict=True).id for model in answer["data"]] == ["claude-x", "gpt-x", "glm-x"]
    assert model_answer(MODELS[0], dialect)["created"] == 1_700_000_000


BODIES: dict[Dialect, dict[str, Any]] = {
    Dialect.MESSAGES: {"model": "mine", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]},
    Dialect.CHAT: {"model": "mine", "messages": [{"role": "user", "content": "hi"}]},
    Dialect.RESPONSES: {"model": "mine", "input": "hi"},
}


@pytest.mark.parametrize("client", list(Dialect))
@pytest.mark.parametrize("upstream", list(Dialect))
def test_the_endpoint_gets_its_name_and_the_way_back_keeps_the_clients(client: Dialect, upstream: Dialect) -> None:
    made = convert_request(BODIES[client], client, Facts(dialect=upstream, model="theirs"))
    assert made.body["model"] == "theirs"
    assert made.way_back.model == "mine"
    assert BODIES[client]["model"] == "mine"
