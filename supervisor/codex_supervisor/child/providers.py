"""Which environment variables Codex's own configuration names for its model providers: children need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# A person's config.toml is a few kilobytes; anything much larger is not one.
_MAX_CONFIG_BYTES = 1 << 20


def provider_variables(codex_home: str) -> tuple[str, ...]:
    """Return the names of variables that hold keys and headers of providers, from `config.toml` in `codex_home`.

    They are `env_key` and the values of `env_http_headers` of each table below `model_providers`. A file that cannot
    be read names none: Codex itself then says what is wrong with it.
    """
    # With the first child: until then it would only cost memory (0.6 MB).
    import tomllib

    path = Path(codex_home) / "config.toml"
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            return ()
        providers = tomllib.loads(path.read_text()).get("model_providers", {})
    except (OSError, ValueError):
        return ()
    names: list[str] = []
    for provider in providers.values() if isinstance(providers, dict) else ():
        names += _named(provider)
    return tuple(dict.fromkeys(names))


def _named(provider: Any) -> list[str]:
    if not isinstance(provider, dict):
        return []
    headers = provider.get("env_http_headers")
    named = [provider.get("env_key"), *(headers.values() if isinstance(headers, dict) else ())]
    return [name for name in named if isinstance(name, str) and name]
