"""Active checks of endpoints that are out: when, and which cheap request. Pure: `now_s` (monotonic) is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codex_gateway.config.endpoint import Endpoint
from codex_gateway.config.model import HealthConfig, HealthRequest
from codex_gateway.config.urls import MODELS, PATHS, dialect_of_full_url, request_url
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.choose import model_for
from codex_gateway.route.learned import Known


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """One request to an endpoint that is out; authentication is added where it is sent."""

    endpoint: str
    method: str
    url: str
    dialect: Dialect
    body: dict[str, Any] | None = None


def check_for(endpoint: Endpoint, settings: HealthConfig, known: Known, last_model: str = "") -> HealthCheck | None:
    """Return the cheap request to ask of an endpoint; None where there is none: no checks, or no model to ask for.

    `last_model`: the one that it was last asked for.
    """
    dialect = next((one for one in endpoint.dialects if one not in known.dialects_missing), endpoint.dialects[0])
    match settings.request:
        case HealthRequest.NONE:
            return None
        case HealthRequest.MODELS if not known.models_missing and dialect_of_full_url(endpoint.url) is None:
            url = request_url(endpoint.url, MODELS)
            return HealthCheck(endpoint=endpoint.name, method="GET", url=url, dialect=dialect)
        case _:
            pass
    model = settings.model or last_model or model_of(endpoint)
    if not model:
        return None
    url = request_url(endpoint.url, PATHS[dialect])
    return HealthCheck(
        endpoint=endpoint.name, method="POST", url=url, dialect=dialect, body=smallest_request(dialect, model, known)
    )


def is_healthy(status: int) -> bool:
    """Whether an answer to a check shows that the endpoint is back.

    Any answer that is no failure of its own does: a 404 or a 405 comes from a server that works.
    """
    return 200 <= status < 500 and status not in (401, 402, 403, 407, 408, 425, 429)


def model_of(endpoint: Endpoint) -> str:
    """Return a model that the configuration says the endpoint has, as it is asked for; empty where it names none."""
    plain = next((model for model in endpoint.models if "*" not in model and "?" not in model), "")
    return model_for(endpoint, plain) if plain else next((one.target_model for one in endpoint.model_rewrite), "")


def smallest_request(dialect: Dialect, model: str, known: Known) -> dict[str, Any]:
    """Return the body of the cheapest request that makes a model answer."""
    match dialect:
        case Dialect.MESSAGES:
            return {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "ping"}]}
        case Dialect.CHAT:
            field = known.max_tokens_field or "max_tokens"
            return {"model": model, field: 1, "messages": [{"role": "user", "content": "ping"}]}
        case Dialect.RESPONSES:
            # OpenAI's least is 16.
            return {"model": model, "max_output_tokens": 16, "input": "ping", "store": False}
