"""What Codex wants to know about a model: an entry of its model catalogue.

Without it Codex warns about missing metadata at every turn and withholds `apply_patch`.
"""

from __future__ import annotations

from typing import Any


def model_catalog(slug: str, display_name: str, description: str, *, context_window: int) -> dict[str, Any]:
    """A catalogue with one model, for `model_catalog_json` (a file) or `GET /v1/models`.

    `context_window` is in tokens. The keys are those of `codex debug models`; Codex demands all of them.
    """
    efforts = ("minimal", "low", "medium", "high", "xhigh")
    model = {
        "slug": slug,
        "display_name": display_name,
        "description": description,
        "default_reasoning_level": "medium",
        "supported_reasoning_levels": [{"effort": effort, "description": effort} for effort in efforts],
        "shell_type": "unified_exec",
        "visibility": "list",
        "supported_in_api": True,
        "priority": 1,
        "availability_nux": None,
        "upgrade": None,
        "base_instructions": "You are a model server without a model.",
        "supports_reasoning_summaries": True,
        "default_reasoning_summary": "auto",
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": "freeform",
        "truncation_policy": {"mode": "tokens", "limit": 10_000},
        "supports_parallel_tool_calls": False,
        "context_window": context_window,
        "max_context_window": context_window,
        "effective_context_window_percent": 95,
        "experimental_supported_tools": [],
        "input_modalities": ["text", "image"],
    }
    return {"models": [model]}
