"""Where keys come from, and how they stay out of everything that is shown."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

__all__ = ["CREDENTIALS_FILE", "Secret", "find_setting", "redact"]

CREDENTIALS_FILE = "~/.ipfs_api_credentials"
HIDDEN = "***"


class Secret(str):
    """A key. Works as a string everywhere, but its repr, and so any repr around it, is `***`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


def redact(value: Any, secrets: Iterable[str]) -> Any:
    """Return `value` (text, or JSON data) with every one of `secrets` replaced by `***`."""
    if isinstance(value, str):
        for secret in secrets:
            # str.replace takes a str subclass, and an empty one would match everywhere.
            if secret and secret in value:
                value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {redact(key, secrets): redact(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, secrets) for item in value]
    return value


def find_setting(
    keys: Iterable[str], environment: Iterable[str], metadata: Mapping[str, Any]
) -> Any:
    """Look a setting up: metadata, environment, `.env`, then the credentials file.

    Args:
        keys: Names in `metadata` and in the credentials file, best first.
        environment: Names of environment variables, best first; in `.env` too.
        metadata: The caller's settings.

    Returns:
        The value, or None if it is nowhere.

    Raises:
        ConfigurationError: The credentials file is readable by others, or not JSON.
    """
    keys, environment = tuple(keys), tuple(environment)
    for source, names in ((metadata, keys), (os.environ, environment)):
        for name in names:
            value = source.get(name)
            if value not in (None, ""):
                return value
    for file, names in ((_dotenv(), environment), (_credentials_file(), (*keys, *environment))):
        for name in names:
            value = file.get(name)
            if value not in (None, ""):
                return value
    return None


def _dotenv() -> Mapping[str, Any]:
    """Read the nearest `.env` of this folder or one above it; the environment stays as it is."""
    path = None
    try:
        folder = Path.cwd()
        paths = [parent / ".env" for parent in (folder, *folder.parents)]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return {}
        from dotenv import dotenv_values

        return dotenv_values(path)
    except OSError:
        return {}  # a folder that is gone, a file that isn't ours to read
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text; save it as that") from None


def _credentials_file() -> Mapping[str, Any]:
    try:
        path = Path(CREDENTIALS_FILE).expanduser()
        mode = path.stat().st_mode
    except (OSError, RuntimeError):
        return {}  # no such file, or nobody whose home is known
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            f"{path}: mode is {stat.S_IMODE(mode):04o}, so others may read your keys; "
            f"run: chmod 600 {path}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        # The error of the parser quotes no content, only a position.
        raise ConfigurationError(
            f"{path}: can't be read as JSON ({type(error).__name__}); it should be an object "
            'like {"openai_api_key": "..."}'
        ) from None
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{path}: holds {type(content).__name__}; it should be a JSON object like "
            '{"openai_api_key": "..."}'
        )
    return content
