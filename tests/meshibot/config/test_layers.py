"""Settings: which layer wins, what a value may be, and the one sentence for what it may not."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meshibot.config import Account, load_settings
from meshibot.errors import UsageError
from meshibot.publishers.x import XSettings

SECRET = "s3cr3t-planted-value"
KEYS = ("X_CONSUMER_KEY", "X_CONSUMER_SECRET", "X_ACCESS_TOKEN", "X_ACCESS_TOKEN_SECRET")


def of_x(account: Account) -> XSettings:
    """What the account sets for X, which every account may."""
    assert isinstance(account, XSettings)
    return account


def refusal() -> str:
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    settings = load_settings()
    (account,) = settings.accounts
    assert (account.name, account.publisher, account.schedule) == ("main", "folder", "0 23 * * *")
    assert account.grace == timedelta(hours=2)
    assert settings.home == tmp_path / "home"
    assert settings.database_address == f"sqlite:///{tmp_path / 'home'}/meshibot.sqlite3"


def test_home_is_the_platforms_data_folder_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MESHIBOT_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load_settings().home == tmp_path / "data" / "meshibot"


def test_environment_over_dotenv_over_toml_over_default(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "meshibot.toml").write_text("stock_target = 3\nmin_quantile = 0.3\nlog_format = 'json'\n")
    (place / ".env").write_text("MESHIBOT_STOCK_TARGET=4\nMESHIBOT_MIN_QUANTILE=0.4\nOTHER=1\n")
    monkeypatch.setenv("MESHIBOT_STOCK_TARGET", "5")
    settings = load_settings()
    assert (settings.stock_target, settings.min_quantile, settings.log_format) == (5, 0.4, "json")


def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHIBOT_CAPTIONS", "")
    monkeypatch.setenv("MESHIBOT_X_CONSUMER_KEY", "")
    (account,) = load_settings().accounts
    assert account.captions == "ja"
    assert of_x(account).x_consumer_key is None


def test_files_in_home_serve_where_the_current_folder_has_none(tmp_path: Path, place: Path) -> None:
    (tmp_path / "home" / "meshibot.toml").write_text("stock_target = 7\n")
    (tmp_path / "home" / ".env").write_text("MESHIBOT_MIN_QUANTILE=0.25\n")
    assert (load_settings().stock_target, load_settings().min_quantile) == (7, 0.25)
    (place / "meshibot.toml").write_text("log_format = 'json'\n")
    assert load_settings().stock_target == 24


def test_paths_in_toml_are_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "home" / "meshibot.toml").write_text("checkpoint = 'bowls.safetensors'\n")
    assert load_settings().checkpoint_file == tmp_path / "home" / "bowls.safetensors"


def test_an_account_says_more_than_the_general_settings_of_the_same_layer(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "meshibot.toml").write_text(
        "captions = 'en'\n"
        "[accounts.tokyo]\nschedule = ['0 23 * * *', '0 1 * * 6']\ncaptions = 'ja'\ntimezone = 'Asia/Tokyo'\n"
        "[accounts.paris-2]\nquiet_hours = '1:00 - 06:30'\njitter = '15m'\ngrace = 3600\ndaily_budget = 2\n"
    )
    tokyo, paris = load_settings().accounts
    assert tokyo.schedule == "0 23 * * *; 0 1 * * 6"
    assert (tokyo.captions, tokyo.timezone.key, paris.captions) == ("ja", "Asia/Tokyo", "en")
    assert (str(paris.quiet_hours), paris.jitter, paris.daily_budget) == (
        "01:00-06:30",
        timedelta(minutes=15),
        2,
    )
    assert paris.grace == timedelta(hours=1)
    monkeypatch.setenv("MESHIBOT_SCHEDULE", "5 5 * * *")
    monkeypatch.setenv("MESHIBOT_PARIS_2_SCHEDULE", "6 6 * * *")
    tokyo, paris = load_settings().accounts
    assert (tokyo.schedule, paris.schedule) == ("5 5 * * *", "6 6 * * *")


def credentials_in_the_environment(monkeypatch: pytest.MonkeyPatch, part: str = "") -> None:
    for name in KEYS:
        monkeypatch.setenv(f"MESHIBOT_{part}{name}", f"{SECRET}-{part}{name}".lower())


def test_credentials_of_the_only_account_need_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials_in_the_environment(monkeypatch)
    settings = load_settings()
    assert of_x(settings.account(None)).x_credentials.access_token == f"{SECRET}-x_access_token"
    assert len(settings.secrets) == 4


def test_an_access_token_without_a_name_serves_no_account_of_several(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "meshibot.toml").write_text("[accounts.a]\npublisher = 'x'\n[accounts.b]\n")
    credentials_in_the_environment(monkeypatch)
    account = of_x(load_settings().account("a"))
    assert account.x_consumer_key is not None
    with pytest.raises(
        UsageError, match=r"lacks MESHIBOT_A_X_ACCESS_TOKEN, MESHIBOT_A_X_ACCESS_TOKEN_SECRET:"
    ):
        account.x_credentials  # noqa: B018 (asked for what it raises)
    credentials_in_the_environment(monkeypatch, "A_")
    assert of_x(load_settings().account("a")).x_credentials.access_token == f"{SECRET}-a_x_access_token"


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials_in_the_environment(monkeypatch)
    monkeypatch.setenv("MESHIBOT_DATABASE_URL", f"postgresql://me:{SECRET}@host/name")
    settings = load_settings()
    assert SECRET in settings.database_address
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        ("postgresql://me:p%40ss-word@host/name", {"p%40ss-word", "p@ss-word"}),
        ("postgresql://host/name?user=me&password=p%2Fss-word", {"p%2Fss-word", "p/ss-word"}),
        ("postgresql://me:secret-1@/name?host=/run/postgresql", {"secret-1"}),
        ("postgresql://me@host/name", set()),
        ("sqlite:////nowhere/x?password=secret-1", {"secret-1"}),
        ("postgresql://me@host/name?application_name=a@b", set()),
        (
            "postgresql://me:pass@word/with:all@host/name",
            {"pass@word/with:all", "pass", "word", "with"},
        ),
        ("postgresql://host/name?password=a pass word", {"a pass word"}),
        ("sqlite:////var/lib/meshibot/a:b@c.sqlite3?timeout=5", set()),
    ],
)
def test_the_password_of_a_database_is_known_as_a_secret(
    monkeypatch: pytest.MonkeyPatch, address: str, secrets: set[str]
) -> None:
    monkeypatch.setenv("MESHIBOT_DATABASE_URL", address)
    assert set(load_settings().secrets) == secrets


@pytest.mark.parametrize(
    "line",
    [
        "x_consumer_secret = 's3cr3t-planted-value'",
        "database_url = 'postgresql://me:s3cr3t-planted-value@h/n'",
        "database_url = 'postgresql://h/n?password=s3cr3t-planted-value'",
    ],
)
@pytest.mark.parametrize("table", ["", "[accounts.a]\n"])
def test_a_secret_in_toml_is_refused_and_not_repeated(place: Path, line: str, table: str) -> None:
    (place / "meshibot.toml").write_text(f"{table}{line}\n")
    sentence = refusal()
    assert SECRET not in sentence
    if not (table and "database_url" in line):
        assert "holds a secret" in sentence
        assert ".env" in sentence


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PUBLISHER", "myspace", "bluesky or folder or "),
        ("SCHEDULE", " ; ", "cron lines"),
        ("TIMEZONE", "Asia/Edo", "a time zone such as Asia/Tokyo"),
        ("TIMEZONE", "../etc/passwd", "a time zone"),
        ("JITTER", "soon", "a duration such as 15m"),
        ("JITTER", "-5m", "a duration"),
        ("GRACE", "0", "at least a minute"),
        ("QUIET_HOURS", "25:00-06:00", "01:00-06:00"),
        ("QUIET_HOURS", "06:00-06:00", "01:00-06:00"),
        ("QUIET_HOURS", "night", "01:00-06:00"),
        ("MIN_QUANTILE", "1.5", "a number from 0"),
        ("MIN_QUANTILE", "nan", "a number from 0"),
        ("MIN_QUANTILE", "much", "a number from 0"),
        ("STOCK_TARGET", "0", "a whole number from 1"),
        ("STOCK_TARGET", "2.5", "a whole number from 1"),
        ("DAILY_BUDGET", "-1", "a whole number of posts"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("X_API_BASE", "localhost", "an address such as"),
        ("HOME", "~nobody-of-this-name/x", "a folder"),
        ("BACKUP_FOLDER", "$NOT_SET_ANYWHERE/x", "a folder"),
    ],
)
def test_a_wrong_value_is_told_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"MESHIBOT_{name}", value)
    sentence = refusal()
    assert sentence.startswith(f"MESHIBOT_{name} is ")
    assert repr(value) in sentence
    assert allowed in sentence


@pytest.mark.parametrize(
    ("value", "shown"), [("x" * 58, f"'{'x' * 58}'"), ("x" * 59, f"'{'x' * 56}...")], ids=["whole", "cut"]
)
def test_of_a_wrong_value_only_the_beginning_is_repeated(
    monkeypatch: pytest.MonkeyPatch, value: str, shown: str
) -> None:
    monkeypatch.setenv("MESHIBOT_JITTER", value)
    assert refusal().startswith(f"MESHIBOT_JITTER is {shown}: set it to a duration")


def test_a_wrong_value_is_named_as_it_is_written(place: Path) -> None:
    (place / "meshibot.toml").write_text("[accounts.night]\njitter = 'x'\n")
    assert refusal().startswith("jitter of [accounts.night] in meshibot.toml is 'x'")
    (place / "meshibot.toml").write_text("stock_target = true\nlog_format = 1\n")
    assert "in meshibot.toml is" in refusal()
    (place / "meshibot.toml").write_text("")
    (place / ".env").write_text("MESHIBOT_GRACE=x\n")
    assert refusal().startswith("MESHIBOT_GRACE in .env is 'x'")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (".env", "MESHIBOT_SHEDULE=x\n", "MESHIBOT_SHEDULE in .* did you mean MESHIBOT_SCHEDULE"),
        ("meshibot.toml", "qwertz = 1\n", "qwertz in .* is no setting: see .env.example"),
        ("meshibot.toml", "[accounts.a]\nhome = '/x'\n", r"home of \[accounts.a\] in .* is no setting"),
        ("meshibot.toml", "publisher = ['x']\n", r"publisher in .* is \['x'\]: set it to .*folder or"),
        ("meshibot.toml", "accounts = 1\n", "accounts in meshibot.toml are tables"),
        ("meshibot.toml", "[accounts]\na = 1\n", "accounts in meshibot.toml are tables"),
        ("meshibot.toml", "[accounts.'A B']\n", "The account name 'A B' can't be used"),
        ("meshibot.toml", "[accounts.a-b]\n[accounts.a_b]\n", "a-b and a_b .* spelled the same"),
        ("meshibot.toml", "a = \n", "is not valid TOML"),
        (".env", "# mine\nMESHIBOT_CAPTIONS='ja\n", r"^Line 2 of \S+ can't be understood: write NAME=value"),
        (".env", b"MESHIBOT_CAPTIONS=\xff\xfe\n", "can't be read: make it a readable text file in UTF-8"),
    ],
)
def test_a_file_that_is_wrong_is_refused(place: Path, file: str, text: str | bytes, said: str) -> None:
    (place / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said):
        load_settings()


def test_reading_settings_needs_no_library_of_a_network() -> None:
    """Every command reads them, and the daemon that waits stays small."""
    heavy = {"tweepy", "requests", "urllib3", "sqlalchemy", "PIL", "numpy", "torch"}
    script = f"import sys, meshibot.config as c; c.load_settings(); print(*{heavy} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


def test_an_unknown_name_in_the_environment_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHIBOT_SHEDULE", SECRET)
    monkeypatch.setenv("MESHIBOT_CRASH_AT", "nowhere")
    (warning,) = load_settings().warnings
    assert warning == "MESHIBOT_SHEDULE in the environment is no setting: did you mean MESHIBOT_SCHEDULE?"


def test_names_without_the_prefix_are_missed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / ".env").write_text("SCHEDULE=0 1 * * *\nHOME=/x\nOTHER=1\nX_ACCESS_TOKEN=s3cr3t-planted-value\n")
    monkeypatch.setenv("PUBLISHER", "x")
    monkeypatch.setenv("LOG_LEVEL", "of another program")
    monkeypatch.setenv("CAPTIONS", "en")
    monkeypatch.setenv("MESHIBOT_CAPTIONS", "ja")
    warnings = load_settings().warnings
    assert [warning.split(" has no effect: ")[1] for warning in warnings] == [
        "did you mean MESHIBOT_SCHEDULE?",
        "did you mean MESHIBOT_X_ACCESS_TOKEN?",
        "did you mean MESHIBOT_PUBLISHER?",
    ]
    assert SECRET not in " ".join(warnings)


def test_a_dotenv_that_is_a_folder_is_said_to_be(place: Path) -> None:
    (place / ".env").mkdir()
    assert load_settings().warnings == (f"{place / '.env'} is not read: it is a folder.",)
    (place / ".env" / "pyvenv.cfg").write_text("")
    assert load_settings().warnings == (), "a virtual environment is called so as well"


def test_so_is_one_in_the_home(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "elsewhere"
    monkeypatch.setenv("MESHIBOT_HOME", str(home))
    for name in (".env", "meshibot.toml"):
        (home / name).mkdir(parents=True)
    assert load_settings().warnings == tuple(
        f"{home / name} is not read: it is a folder." for name in (".env", "meshibot.toml")
    )


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        ("MESHIBOT_CAPTIONS=深夜の一杯 #飯テロ {marker}", True),
        ("MESHIBOT_CAPTIONS='深夜の一杯 #飯テロ {marker}'", False),
        ("MESHIBOT_CAPTIONS=深夜#飯テロ", False),
        ("# MESHIBOT_CAPTIONS=en #x", False),
        ("OTHER=a #b", False),
    ],
)
def test_a_value_that_a_hash_cuts_is_said(place: Path, line: str, cut: bool) -> None:
    (place / ".env").write_text(f"{line}\n", "utf-8")
    said = [warning for warning in load_settings().warnings if "begins a comment" in warning]
    assert len(said) == cut


def test_a_second_dotenv_is_said_not_to_be_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (place, tmp_path / "home"):
        (folder / ".env").write_text("MESHIBOT_STOCK_TARGET=4\n")
    (warning,) = load_settings().warnings
    assert warning.startswith(f"{tmp_path / 'home' / '.env'} is not read")
    monkeypatch.chdir(tmp_path / "home")
    assert load_settings().warnings == ()


def test_files_may_begin_with_a_byte_order_mark(place: Path) -> None:
    (place / ".env").write_bytes(b"\xef\xbb\xbfMESHIBOT_STOCK_TARGET=4\n")
    (place / "meshibot.toml").write_bytes(b"\xef\xbb\xbflog_format = 'json'\n")
    settings = load_settings()
    assert (settings.stock_target, settings.log_format) == (4, "json")
    assert settings.files == (place / ".env", place / "meshibot.toml")


@pytest.mark.parametrize(("mode", "said"), [(0o600, 0), (0o640, 1), (0o666, 1)])
@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("MESHIBOT_MAIN_X_ACCESS_TOKEN=s3cr3t-planted-value", True),
        ("MESHIBOT_DATABASE_URL=postgresql://me:s3cr3t-planted-value@h/n", True),
        ("MESHIBOT_X_ACCESS_TOKEN=", False),
        ("MESHIBOT_CAPTIONS=en", False),
    ],
)
def test_secrets_that_others_may_read_are_said(
    place: Path, line: str, secret: bool, mode: int, said: int
) -> None:
    (place / ".env").write_text(f"{line}\n")
    (place / ".env").chmod(mode)
    cautions = load_settings().cautions
    assert len(cautions) == (said if secret else 0)
    assert SECRET not in " ".join(cautions)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://proxy.example.org", 1),
        ("http://127.0.0.1.example.org:80", 1),
        ("http://192.0.2.1:8080/x", 1),
        ("https://proxy.example.org", 0),
        ("http://127.0.0.1:8080", 0),
        ("http://localhost/x", 0),
        ("http://[::1]:8080", 0),
    ],
)
def test_a_door_that_is_not_safe_is_said(monkeypatch: pytest.MonkeyPatch, address: str, said: int) -> None:
    monkeypatch.setenv("MESHIBOT_X_API_BASE", address)
    assert load_settings().cautions == (), "nothing is sent there"
    monkeypatch.setenv("MESHIBOT_PUBLISHER", "x")
    assert len(load_settings().cautions) == said


@pytest.mark.parametrize("table", ["", "[accounts.main]\n"])
def test_a_folder_that_one_happens_to_be_in_redirects_no_secret(
    place: Path, tmp_path: Path, table: str
) -> None:
    (place / "meshibot.toml").write_text(f"{table}x_api_base = 'https://evil.example.org'\n")
    load_settings()
    (tmp_path / "home" / ".env").write_text(f"MESHIBOT_X_ACCESS_TOKEN={SECRET}\n")
    assert "put both files into the same folder" in refusal()
    (tmp_path / "home" / ".env").rename(place / ".env")
    load_settings()
    (place / "meshibot.toml").rename(tmp_path / "home" / "meshibot.toml")
    load_settings()


@pytest.mark.parametrize("name", ["CAPTIONS", "HOME", "SCHEDULE", "X_ACCESS_TOKEN"])
def test_bytes_that_are_no_text_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"MESHIBOT_{name}", "/x/\udc83\udc89")
    sentence = refusal()
    assert sentence.startswith(f"MESHIBOT_{name} ")
    sentence.encode()


@pytest.mark.parametrize(
    ("address", "sound"),
    [
        ("postgresql://u:s3cr3t-planted-value@[::1", False),
        ("postgresql://u:s3cr3t-planted-value@host:port/name", False),
        ("postgresql://u:s3cr3t-planted/value@host:5432/name", True),
        ("postgresql://u@[::1]:5432/name", True),
        ("postgresql:///name?host=/run/postgresql", True),
        ("sqlite:////var/lib/a:b/x.sqlite3", True),
    ],
)
def test_an_address_without_a_host_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, address: str, sound: bool
) -> None:
    monkeypatch.setenv("MESHIBOT_DATABASE_URL", address)
    if sound:
        assert load_settings().database_address == address
    else:
        assert refusal().startswith("MESHIBOT_DATABASE_URL can't be used: set it to a database address")
        assert "s3cr3t" not in refusal()


def test_a_home_that_no_address_can_hold_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "a?b"))
    with pytest.raises(UsageError, match="set MESHIBOT_HOME to a folder without one"):
        load_settings().database_address  # noqa: B018 (asked for what it raises)
    monkeypatch.setenv("MESHIBOT_HOME", str(tmp_path / "100% ramen #1"))
    assert load_settings().database_address == f"sqlite:///{tmp_path}/100% ramen #1/meshibot.sqlite3"


def nowhere(*_: object, **__: object) -> Path:
    raise RuntimeError("could not determine the home directory")


def unexpanded(*_: object, **__: object) -> Path:
    return Path("~/.local/share/meshibot")


@pytest.mark.parametrize("data_path", [nowhere, unexpanded])
def test_a_user_without_a_home_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, data_path: Callable[..., Path]
) -> None:
    """A user id that is in no passwd: the two ways in which versions of platformdirs take it."""
    monkeypatch.delenv("MESHIBOT_HOME")
    monkeypatch.setattr("platformdirs.user_data_path", data_path)
    assert refusal().startswith("This user has no home folder: set MESHIBOT_HOME")


def test_captions_may_be_a_list_or_a_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "meshibot.toml").write_text(
        "[accounts.a]\ncaptions = ['one', 'two']\n[accounts.b]\ncaptions = 'lines.txt'\nsubject = 'curry'\n"
    )
    a, b = load_settings().accounts
    assert (a.captions, b.captions, b.subject) == (("one", "two"), place / "lines.txt", "curry")
    monkeypatch.setenv("MESHIBOT_A_CAPTIONS", '["one"]')
    monkeypatch.setenv("MESHIBOT_B_CAPTIONS", "other.txt")
    a, b = load_settings().accounts
    assert (a.captions, b.captions) == ('["one"]', place / "other.txt")


def test_accounts_may_be_named_without_a_table(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / ".env").write_text("MESHIBOT_ACCOUNTS=sky, toot\nMESHIBOT_SKY_PUBLISHER=bluesky\n")
    (place / ".env").chmod(0o600)
    assert [(each.name, each.publisher) for each in load_settings().accounts] == [
        ("sky", "bluesky"),
        ("toot", "folder"),
    ]
    (place / "meshibot.toml").write_text("[accounts.toot]\npublisher = 'mastodon'\n[accounts.old]\n")
    assert [each.name for each in load_settings().accounts] == ["toot", "old", "sky"]
    monkeypatch.setenv("MESHIBOT_ACCOUNTS", "sky one")
    assert [each.name for each in load_settings().accounts] == ["toot", "old", "sky", "one"]
    monkeypatch.setenv("MESHIBOT_ACCOUNTS", "sky One")
    assert "The account name 'One' can't be used" in refusal()


def test_a_group_means_the_same_moments(place: Path) -> None:
    (place / "meshibot.toml").write_text(
        "group = 'night'\ntimezone = 'Asia/Tokyo'\n[accounts.sky]\n[accounts.toot]\n"
        "[accounts.alone]\ngroup = 'other'\ntimezone = 'Europe/Paris'\n"
    )
    assert [each.group for each in load_settings().accounts] == ["night", "night", "other"]
    (place / "meshibot.toml").write_text(
        "group = 'night'\n[accounts.sky]\ntimezone = 'Asia/Tokyo'\n[accounts.toot]\n"
        "timezone = 'Europe/Paris'\n"
    )
    assert "sky and toot are one group, night, and go by different time zones" in refusal()
    (place / "meshibot.toml").write_text(
        "group = 'night'\ntimezone = 'Asia/Tokyo'\nschedule = 'auto'\n[accounts.sky]\n[accounts.toot]\n"
    )
    assert "The account sky is in the group night" in refusal()


def test_visibility_and_sensitive_are_an_accounts(place: Path) -> None:
    (place / "meshibot.toml").write_text(
        "[accounts.sky]\nvisibility = 'unlisted'\n[accounts.toot]\nsensitive = true\n"
    )
    assert [(each.visibility, each.sensitive) for each in load_settings().accounts] == [
        ("unlisted", False),
        ("public", True),
    ]
    (place / "meshibot.toml").write_text("visibility = 'secret'\n")
    assert "set it to public, unlisted or followers" in refusal()
