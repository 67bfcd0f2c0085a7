import stat

import pytest
from django.core.exceptions import ImproperlyConfigured

from voxsite import env


def test_readers_return_what_is_set(monkeypatch):
    monkeypatch.setenv("V", " 7 ")
    assert env.integer("V", default=1) == 7
    assert env.text("V") == "7"
    monkeypatch.setenv("V", "On")
    assert env.flag("V") is True
    monkeypatch.setenv("V", "a, b,,c ")
    assert env.words("V") == ["a", "b", "c"]


@pytest.mark.parametrize(("value", "count"), [("", 0), ("off", 0), ("0", 0), ("on", 1), ("1", 1), ("2", 2)])
def test_switch_may_be_a_number(monkeypatch, value, count):
    monkeypatch.setenv("V", value)
    assert env.count("V") == count


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        ("off", []),
        ("0", []),
        ("on", ["*"]),
        ("127.0.0.1:9000, [::1]:80", ["127.0.0.1:9000", "[::1]:80"]),
    ],
)
def test_sockets_are_a_switch_or_a_list(monkeypatch, value, found):
    monkeypatch.setenv("V", value)
    assert env.sockets("V") == found


@pytest.mark.parametrize("value", ["localhost:9000", "127.0.0.1", "127.0.0.1:0", "on,127.0.0.1:80", "127.0.0.1:x", "7"])
def test_socket_that_is_none_is_refused_by_name(monkeypatch, value):
    monkeypatch.setenv("V", value)
    with pytest.raises(ImproperlyConfigured, match="V must be"):
        env.sockets("V")


def test_web_address_is_one_that_people_can_open(monkeypatch):
    for value in ("", "https://example.org/terms", "http://localhost/terms"):
        monkeypatch.setenv("V", value)
        assert env.web_address("V") == value
    for value in ("javascript:alert(1)", "example.org/terms", "/terms"):
        monkeypatch.setenv("V", value)
        with pytest.raises(ImproperlyConfigured, match="V must be an address"):
            env.web_address("V")


def test_readers_return_the_default_for_nothing(monkeypatch):
    monkeypatch.setenv("V", "  ")
    assert env.integer("V", default=3) == 3
    assert env.flag("V", default=True) is True
    assert env.choice("V", options=("a", "b"), default="b") == "b"


@pytest.mark.parametrize(
    "read",
    [
        lambda: env.integer("V", default=0),
        lambda: env.flag("V"),
        lambda: env.choice("V", options=("a", "b"), default="a"),
    ],
)
def test_nonsense_is_refused_by_name(monkeypatch, read):
    monkeypatch.setenv("V", "nonsense")
    with pytest.raises(ImproperlyConfigured, match="V must be"):
        read()


def test_missing_secret_is_named(monkeypatch):
    monkeypatch.delenv("V", raising=False)
    with pytest.raises(ImproperlyConfigured, match="Set V: it matters"):
        env.required("V", why="it matters")


def test_kept_secret_is_made_once_and_private(tmp_path):
    path = tmp_path / "deep" / "secret"
    first = env.kept_secret(path)
    assert env.kept_secret(path) == first
    assert len(first) > 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_socket_of_a_deep_folder_lies_in_a_private_one(tmp_path):
    short = env.socket_path(tmp_path, "a.sock")
    assert short.parent == tmp_path or len(str(tmp_path)) > 85
    deep = env.socket_path(tmp_path / ("x" * 100), "a.sock")
    assert len(str(deep)) <= env.MAX_SOCKET_PATH_BYTES
    assert stat.S_IMODE(deep.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [None, "uploads"])
def test_existing_data_folder_is_closed_to_others(tmp_path, content):
    folder = tmp_path / "data"
    (folder / content if content else folder).mkdir(parents=True)
    folder.chmod(0o755)
    env.private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_folder_that_others_use_stays_open(tmp_path, mode):
    (tmp_path / "letters").mkdir()
    tmp_path.chmod(mode)
    env.private_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode


def test_secret_stands_in_the_variable_or_in_a_file(tmp_path, monkeypatch):
    assert env.secret("VOXSITE_TRY") == ""
    path = tmp_path / "secret"
    monkeypatch.setenv("VOXSITE_TRY_FILE", str(path))
    with pytest.raises(ImproperlyConfigured, match="VOXSITE_TRY_FILE"):
        env.secret("VOXSITE_TRY")
    path.write_text("from the file\n")
    assert env.secret("VOXSITE_TRY") == "from the file"
    monkeypatch.setenv("VOXSITE_TRY", "from the variable")
    assert env.secret("VOXSITE_TRY") == "from the variable"
