"""What is read from refusals, in the words and shapes of real endpoints; and what must not be read from them."""

# ruff: noqa: E501 (what real endpoints say, in one piece)

from __future__ import annotations

import json
from typing import Any

import pytest
from codex_gateway.route.learned import Topic
from codex_gateway.route.refusals import missing_path, read_refusal
from hypothesis import given
from hypothesis import strategies as st

SENT: dict[str, Any] = {
    "model": "m-1",
    "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral", "scope": "global"}}],
    "messages": [
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "assistant", "content": "ho", "reasoning_content": "hm", "refusal": None, "tool_calls": []},
        {"role": "system", "content": "in the middle"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
            ],
        },
    ],
    "tools": [
        {"type": "function", "function": {"name": "Bash", "parameters": {}, "strict": True}, "eager_input_streaming": True},
        {"type": "web_search"},
    ],
    "tool_choice": "required",
    "max_tokens": 10,
    "temperature": 0.2,
    "top_p": 0.5,
    "store": False,
    "stream": True,
    "stream_options": {"include_usage": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "reasoning_effort": "xhigh",
    "presence_penalty": 0,
    "parallel_tool_calls": True,
    "prompt_cache_key": "k",
    "context_management": {},
    "output_config": {"effort": "high"},
    "response_format": {"type": "json_schema"},
    "metadata": {"user_id": "u"},
}  # fmt: skip


def _openai(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | more}


def _anthropic(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_1"}


PARAMETERS = [
    # OpenAI and Azure
    (_openai("Unknown parameter: 'store'.", param="store", code="unknown_parameter"), "store"),
    (_openai("Unrecognized request argument supplied: parallel_tool_calls"), "parallel_tool_calls"),
    (_openai("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p"), "top_p"),
    (
        _openai(
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
            "supported.",
            param="temperature",
            code="unsupported_value",
        ),
        "temperature",
    ),
    (_openai("Unknown parameter: 'tools[0].function.strict'."), "tools.*.function.strict"),
    (_openai("Unknown parameter: 'messages[1].reasoning_content'."), "messages.*.reasoning_content"),
    # Anthropic, and relays that speak its dialect
    (_anthropic("context_management: Extra inputs are not permitted"), "context_management"),
    (_anthropic("tools.0.custom.eager_input_streaming: Extra inputs are not permitted"), "tools.*.eager_input_streaming"),
    (_anthropic("system.0.cache_control.ephemeral.scope: Extra inputs are not permitted"), "system.*.cache_control.scope"),
    (
        _anthropic("messages.3.content.1.text.cache_control: Extra inputs are not permitted"),
        "messages.*.content.*.cache_control",
    ),
    (_anthropic("`temperature` and `top_p` cannot both be specified for this model. Please use only one."), "temperature"),
    ({"message": "output_config: Extra inputs are not permitted"}, "output_config"),
    # vLLM, FastAPI, NVIDIA
    (
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra inputs are not permitted', "
            "'input': False}]",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "store",
    ),
    (
        {
            "error": "[{'type': 'extra_forbidden', 'loc': ('body', 'prompt_cache_key'), 'msg': 'Extra inputs are not "
            "permitted', 'input': 'main'}]"
        },
        "prompt_cache_key",
    ),
    (
        {"detail": [{"loc": ["body", "thinking"], "msg": "extra fields not permitted", "type": "value_error.extra"}]},
        "thinking",
    ),
    ({"detail": [{"type": "extra_forbidden", "loc": ["body", "store"], "msg": "Zusätzliche Eingaben"}]}, "store"),
    ({"detail": "unexpected keyword argument 'reasoning_effort'"}, "reasoning_effort"),
    # Mistral
    (
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "messages", 0, "user", "name"],
                        "msg": "Extra inputs are not permitted",
                        "input": None,
                    }
                ]
            },
            "type": "invalid_request_error",
        },
        "messages.*.name",
    ),
    # Google's OpenAI-compatible path
    (
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Invalid JSON payload received. Unknown name "store": Cannot find field.',
                    "status": "INVALID_ARGUMENT",
                    "details": [
                        {
                            "@type": "type.googleapis.com/google.rpc.BadRequest",
                            "fieldViolations": [
                                {"description": 'Invalid JSON payload received. Unknown name "store": Cannot find field.'}
                            ],
                        }
                    ],
                }
            }
        ],
        "store",
    ),
    (
        {
            "error": {
                "code": 400,
                "message": "Invalid JSON payload received. Unknown name \"strict\" at 'tools[0].function': Cannot find field.",
                "status": "INVALID_ARGUMENT",
            }
        },
        "tools.*.function.strict",
    ),
    # Groq, Cerebras
    (_openai("property 'store' is unsupported"), "store"),
    (
        _openai(
            "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property "
            "'reasoning_content' is unsupported)]"
        ),
        None,
    ),
    ({"message": "body.store : property 'body.store' is unsupported", "type": "invalid_request_error"}, "store"),
    # DeepSeek, xAI
    (_openai("deepseek-reasoner does not support this tool_choice"), "tool_choice"),
    ({"code": "Client specified an invalid argument", "error": "Argument not supported on this model: presencePenalty"},
     "presence_penalty"),
    ({"error": "Model grok-4 does not support parameter reasoningEffort."}, "reasoning_effort"),
    # OpenRouter: the provider's own error as text
    (
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": json.dumps(_openai("Unsupported parameter: 'store'")), "provider_name": "P"},
            }
        },
        "store",
    ),
    # Zhipu, Bedrock, Go
    ({"error": {"code": "1210", "message": "Extra inputs are not permitted, field: 'messages[1].refusal', value: None"}},
     "messages.*.refusal"),
    ({"message": "Malformed input request: #: extraneous key [thinking] is not permitted, please reformat"}, "thinking"),
    ({"error": {"message": 'json: unknown field "stream_options"'}}, "stream_options"),
    ({"error": {"message": "reasoning_effort 参数不支持"}}, "reasoning_effort"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "path"), PARAMETERS)
def test_a_refused_parameter_is_read(answer: Any, path: str | None) -> None:
    refusal = read_refusal(400, json.dumps(answer).encode(), SENT)
    if path is None:
        assert refusal is None
        return
    assert refusal is not None
    assert (refusal.topic, refusal.detail) == (Topic.PARAMETER, path)
    assert refusal.evidence


@pytest.mark.parametrize("status", [500, 502])
def test_a_relay_that_wraps_a_refusal_in_its_own_failure_is_read(status: int) -> None:
    answer = {
        "error": {"type": "request_fail", "upstream_error": _anthropic("output_config: Extra inputs are not permitted")}
    }
    refusal = read_refusal(status, json.dumps(answer).encode(), SENT)
    assert refusal is not None
    assert refusal.detail == "output_config"
    # Without the upstream's own word for it, a 500 is a failure of the endpoint.
    assert read_refusal(status, b'{"error": "output_config: Extra inputs are not permitted"}', SENT) is None


FEATURES = [
    ({"error": "registry.ollama.ai/library/gemma3:4b does not support tools"}, Topic.TOOLS, ""),
    (_openai("`tool calling` is not supported with this model"), Topic.TOOLS, ""),
    (_openai("This model does not support function calling."), Topic.TOOLS, ""),
    (_openai("Tool choice is not supported: tool_choice required does not support tools of this kind"), None, ""),
    (_openai('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'), Topic.TOOLS, ""),
    (_openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
             param="max_tokens", code="unsupported_parameter"), Topic.MAX_TOKENS_FIELD, "max_completion_tokens"),
    (_openai("System message must be at the beginning."), Topic.SYSTEM_MIDWAY, ""),
    (_anthropic('messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not '
                '"system" as an input message role.'), Topic.SYSTEM_MIDWAY, ""),
    (_openai("Hosted tool 'web_search' is not supported with this model"), Topic.TOOL_KIND, "web_search"),
    (_anthropic("Unexpected value(s) `context-1m-2025-08-07`, `x-2` for the `anthropic-beta` header."),
     Topic.BETA, "context-1m-2025-08-07,x-2"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "topic", "detail"), FEATURES)
def test_a_refused_feature_is_read(answer: Any, topic: Topic | None, detail: str) -> None:
    refusal = read_refusal(400, json.dumps(answer).encode(), SENT)
    assert (refusal and refusal.topic, refusal.detail if refusal else "") == (topic, detail)


def test_no_endpoint_with_tools_is_read_from_a_404() -> None:
    answer = _openai("No endpoints found that support tool use. To learn more about provider routing, visit …")
    refusal = read_refusal(404, json.dumps(answer).encode(), SENT)
    assert refusal is not None
    assert refusal.topic is Topic.TOOLS


OTHER: list[object] = [
    _openai("max_tokens is too large: 100000. This model supports at most 4096 completion tokens.", param="max_tokens"),
    _openai("Invalid value: 'xhigh'. Supported values are: 'low', 'medium', and 'high'.", param="reasoning_effort"),
    _openai("Invalid schema for function 'Bash': schema must be a JSON Schema", param="tools[0].function.parameters"),
    _openai("This model's maximum context length is 8192 tokens.", param="messages", code="context_length_exceeded"),
    _openai("The model `m-1` does not exist or you do not have access to it.", code="model_not_found"),
    _openai("Missing required parameter: 'messages'.", param="messages"),
    _anthropic("messages.3.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    _anthropic("messages.1.content.0.thinking.signature: Invalid signature in thinking block"),
    _anthropic("max_tokens: 200000 > 64000, which is the maximum allowed number of output tokens"),
    _anthropic("Your credit balance is too low to access the Anthropic API."),
    _anthropic("temperature: Input should be less than or equal to 1"),
    _anthropic("messages: Extra inputs are not permitted"),
    {"detail": [{"loc": ["body", "model"], "msg": "field required", "type": "value_error.missing"}]},
    {"detail": [{"type": "int_parsing", "loc": ["body", "max_tokens"], "msg": "Input should be a valid integer"}]},
    _openai("Unknown parameter: 'frequency_penalty'."),  # was not sent
    _openai("The user said: parameter model is not supported"),
    _openai("Unknown parameter: 'model'."),
    {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}},
    {},
    [],
    "plain text",
    None,
    17,
]


@pytest.mark.parametrize("answer", OTHER)
def test_other_errors_are_no_refusals(answer: Any) -> None:
    assert read_refusal(400, json.dumps(answer).encode(), SENT) is None


@pytest.mark.parametrize("status", [200, 401, 403, 429, 503])
def test_other_statuses_are_no_refusals(status: int) -> None:
    assert read_refusal(status, json.dumps(_openai("Unknown parameter: 'store'.")).encode(), SENT) is None


def test_evidence_holds_no_key_and_is_short() -> None:
    text = "Unknown parameter: 'store'. " + "x" * 2000 + " sk-abcdefghijklmnop"
    refusal = read_refusal(400, json.dumps(_openai("sk-abcdefghijklmnop " + text)).encode(), SENT)
    assert refusal is None  # the sentence does not begin with the refusal
    refusal = read_refusal(
        400, json.dumps(_openai("Unknown parameter: 'store'. Key sk-abcdefghijklmnop")).encode(), SENT
    )
    assert refusal is not None
    assert "abcdefghijklmnop" not in refusal.evidence
    assert len(read_refusal(400, json.dumps(_openai(text)).encode(), SENT).evidence) <= 500  # type: ignore[union-attr]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=60),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "loc", "msg", "param", "type", "code", "metadata", "raw", "details"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(answer=_JSON, status=st.sampled_from([400, 404, 422, 500]))
def test_any_answer_is_read_without_failing(answer: Any, status: int) -> None:
    read_refusal(status, json.dumps(answer).encode(), SENT)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_without_failing(body: bytes) -> None:
    read_refusal(400, body, SENT)


@pytest.mark.parametrize(
    ("path", "topic", "detail"),
    [
        ("/v1/responses", Topic.DIALECT, "responses"),
        ("/v1/messages/count_tokens", Topic.COUNT_TOKENS, ""),
        ("/v1/models", Topic.MODELS, ""),
        ("/v1/chat/completions", Topic.DIALECT, "chat"),
    ],
)
def test_a_missing_path_is_read(path: str, topic: Topic, detail: str) -> None:
    refusal = missing_path(404, b'{"detail":"Not Found"}', path)
    assert refusal is not None
    assert (refusal.topic, refusal.detail) == (topic, detail)


def test_a_missing_model_is_no_missing_path() -> None:
    assert missing_path(404, b'{"error":{"message":"The model `x` does not exist"}}', "/v1/responses") is None
    assert missing_path(400, b'{"detail":"Not Found"}', "/v1/responses") is None


def test_places_and_kinds_that_no_body_has_are_no_refusals() -> None:
    sent = {"messages": [{"role": "user"}], "tools": [{"type": []}, {"type": "odd"}]}
    far = {"error": {"message": "Unknown parameter: 'x'.", "param": f"messages.{'9' * 5000}.x"}}
    assert read_refusal(400, json.dumps(far).encode(), sent) is None
    odd = {"error": {"message": "unsupported tool type: 'odd'"}}
    found = read_refusal(400, json.dumps(odd).encode(), sent)
    assert found is not None
    assert (found.topic, found.detail) == (Topic.TOOL_KIND, "odd")
