"""Where keys come from, in which order, and that they show nowhere."""

from __future__ import annotations

import json
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_backends.engine.credentials import Secret, find_setting, redact
from api_backends.errors import ConfigurationError


def look(metadata=None):
    return find_setting(("x_api_key", "api_key"), ("X_API_KEY", "X_TOKEN"), metadata or {})


def write_file(home, content, mode=0o600):
    path = home / ".ipfs_api_credentials"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_metadata_then_environment_then_dotenv_then_file(
    no_settings_from_outside, monkeypatch, tmp_path
):
    assert look() is None
    write_file(no_settings_from_outside, {"x_api_key": "file"})
    assert look() == "file"
    (tmp_path / ".env").write_text("X_TOKEN=dotenv\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert look() == "dotenv"
    assert "X_TOKEN" not in os.environ
    monkeypatch.setenv("X_TOKEN", "environment")
    assert look() == "environment"
    monkeypatch.setenv("X_API_KEY", "first name")
    assert look() == "first name"
    assert look({"api_key": "metadata"}) == "metadata"
    assert look({"api_key": "", "x_api_key": None}) == "first name"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_may_read_is_refused(no_settings_from_outside, mode):
    path = write_file(no_settings_from_outside, {"x_api_key": "file"}, mode)
    with pytest.raises(ConfigurationError) as caught:
        look()
    assert f"{mode:04o}" in str(caught.value)
    assert f"chmod 600 {path}" in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_is_ours_alone_is_read(no_settings_from_outside, mode):
    write_file(no_settings_from_outside, {"X_TOKEN": "file"}, mode)
    assert look() == "file"


@pytest.mark.parametrize("content", ['{"x_api_key": "sk-secret"', "[]", '"sk-secret"', ""])
def test_a_file_that_is_none_is_refused_without_being_quoted(no_settings_from_outside, content):
    write_file(no_settings_from_outside, content)
    with pytest.raises(ConfigurationError, match="JSON") as caught:
        look()
    assert "sk-secret" not in str(caught.value)


def test_odd_surroundings(monkeypatch, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert look() is None  # a working directory that does not exist
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"\.env"):
        look()


def test_a_secret_shows_nowhere():
    key = Secret("sk-secret")
    assert repr(key) == "***"
    assert "sk-secret" not in repr({"authorization": key, "list": [key]})
    assert key == "sk-secret"
    assert repr(pickle.loads(pickle.dumps(key))) == "***"


@given(
    st.recursive(
        st.one_of(
            st.none(), st.integers(), st.text(max_size=5), st.just("say sk-secret twice sk-secret")
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "sk-secret"]), inner)
        ),
        max_leaves=8,
    )
)
def test_redaction_reaches_everything(data):
    shown = redact(data, ["sk-secret", ""])
    assert "sk-secret" not in json.dumps(shown)
    assert redact(shown, []) == shown
