"""`meshibot init` as a person goes through it, and as a script does, on the fakes of the networks."""

import re
import stat
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from testbed.command import Command
from testbed.fakes import bluesky, mastodon, misskey
from testbed.fakes.network import Fakes
from testbed.fakes.x import CREDENTIALS, FakeX
from tests.checkpoints import make_checkpoint

X_ANSWERS = "\n".join(
    (
        *(CREDENTIALS.consumer_key, CREDENTIALS.consumer_secret),
        *(CREDENTIALS.access_token, CREDENTIALS.access_token_secret),
    )
)


@pytest.fixture
def bot(tmp_path: Path) -> Command:
    checkpoint = make_checkpoint(tmp_path / "tiny.safetensors", training_hashes=("0" * 16,))
    return Command(tmp_path, {"CHECKPOINT": str(checkpoint), "MIN_QUANTILE": "0"})


def typed(bot: Command, answers: str, *options: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """`meshibot init` with these lines typed."""
    with bot.start("init", *options, stdin=subprocess.PIPE, **settings) as process:
        stdout, stderr = process.communicate(answers, timeout=120)
    return subprocess.CompletedProcess(options, process.returncode, stdout, stderr)


def test_a_folder_in_one_command_and_four_times_enter(bot: Command) -> None:
    done = typed(bot, "\n\n\n\n", MIN_QUANTILE="0")
    assert done.returncode == 0, done.stderr
    assert (bot.home / "meshibot.toml").read_text() == (
        '[accounts.main]\npublisher = "folder"\nschedule = "0 23 * * *"\ncaptions = "ja"\n'
    )
    assert not (bot.home / ".env").exists(), "there is no secret"
    assert "Nothing was posted: this was a rehearsal." in done.stderr
    assert done.stderr.endswith("`meshibot run` posts on schedule.\n")
    assert bot.json("history") == []
    assert bot.json("post-now")["state"] == "posted"


def test_x_in_less_than_ten_lines(bot: Command, fake_x: FakeX) -> None:
    bot = bot.having({"X_API_BASE": fake_x.url})
    done = typed(bot, f"night\nx\n{X_ANSWERS}\n\nen\ny\n", "--no-dry-run")
    assert done.returncode == 0, done.stderr
    assert "It costs $0.010 [y/N]" in done.stderr
    assert "posts to x as " in done.stdout
    assert "$0.60 ($0.020 each" in done.stdout
    env = bot.home / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert len(env.read_text().splitlines()) == 4
    assert "MESHIBOT_NIGHT_X_ACCESS_TOKEN_SECRET='token&secret 5e0b%d4'" in env.read_text()
    for value in X_ANSWERS.splitlines():
        assert value not in done.stdout + done.stderr + (bot.home / "meshibot.toml").read_text()
    assert bot.json("post-now")["state"] == "posted"
    assert len(fake_x.posts()) == 1


def test_x_makes_the_tokens_by_a_pin(bot: Command, fake_x: FakeX) -> None:
    """In nine lines of typing, one of which has a wrong PIN."""
    bot = bot.having({"X_API_BASE": fake_x.url})
    app = f"{CREDENTIALS.consumer_key}\n{CREDENTIALS.consumer_secret}"
    with bot.start("init", "--no-dry-run", stdin=subprocess.PIPE, LOG_LEVEL="debug") as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(f"night\nx\n{app}\n\n")
        process.stdin.flush()
        said = ""
        while (
            link := re.search(r"  https://api\.twitter\.com/oauth/authorize\?oauth_token=(\S+)\n", said)
        ) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        stdout, stderr = process.communicate(f"0000000\n{link[1][:-8:-1]}\n\nen\ny\n", timeout=100)
    assert process.returncode == 0, stderr
    assert "X does not take that PIN (401).\nThe PIN that it shows then: " in stderr
    assert "X knows it as @meshibot_fake now.\n" in stderr
    written = (bot.home / ".env").read_text()
    assert "MESHIBOT_NIGHT_X_ACCESS_TOKEN_SECRET='token&secret 5e0b%d4'" in written
    for value in (*CREDENTIALS.secrets(), "request-secret-planted"):
        assert value not in said + stdout + stderr
        assert quote(value, safe="") not in said + stdout + stderr
    assert bot.json("post-now")["state"] == "posted"


def test_a_pin_that_can_not_be_had_is_a_sentence(bot: Command, fake_x: FakeX) -> None:
    bot = bot.having({"X_API_BASE": fake_x.url})
    app = f"{CREDENTIALS.consumer_key}\n{CREDENTIALS.consumer_secret}"
    wrong = typed(bot, f"night\nx\n{CREDENTIALS.consumer_key}\nwrong-planted\n\n")
    assert "X refuses the consumer key and secret (401): copy both anew" in wrong.stderr
    assert "wrong-planted" not in wrong.stderr
    fake_x.set_fault(
        "request_token", "status", status=403, body={"errors": [{"code": 415, "message": "Callback"}]}
    )
    assert "X gives this app no PIN: in its User authentication" in typed(bot, f"night\nx\n{app}\n\n").stderr
    typed_wrong = typed(bot, f"night\nx\n{app}\n\n1\n2\n3\n")
    assert "X took none of the PINs" in typed_wrong.stderr
    fake_x.set_fault("request_token", "drop")
    lost = typed(bot, f"night\nx\n{app}\n\n")
    assert "X can't be reached" in lost.stderr
    assert [done.returncode for done in (wrong, typed_wrong, lost)] == [2, 2, 1]
    assert not bot.home.exists()


def test_mastodon_makes_the_token_itself(bot: Command, fakes: Fakes) -> None:
    server = fakes("mastodon", rules=[{"id": "1", "text": "No bots that only post AI-generated pictures"}])
    options = ("--no-dry-run", "--server", server.url)
    with bot.start("init", *options, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("\nmastodon\n")
        process.stdin.flush()
        said = ""
        while (link := re.search(r"  (http\S+)\n", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        query = parse_qs(urlsplit(link[1]).query)
        assert query["scope"] == ["read:accounts read:statuses write:media write:statuses"]
        stdout, stderr = process.communicate(f"{query['code_challenge'][0]}\n\n\n", timeout=60)
    assert process.returncode == 0, stderr
    assert f"MESHIBOT_MAIN_MASTODON_TOKEN='{mastodon.TOKEN}'" in (bot.home / ".env").read_text()
    assert f'mastodon_server = "{server.url}"' in (bot.home / "meshibot.toml").read_text()
    assert "No bots that only post AI-generated pictures" in stdout
    assert mastodon.TOKEN not in stdout + stderr
    assert bot.json("post-now")["state"] == "posted"


def test_bluesky_and_misskey(bot: Command, fakes: Fakes) -> None:
    answers = f"sky\nbluesky\n{bluesky.HANDLE}\n{bluesky.PASSWORD}\n\n\n"
    done = typed(bot, answers, "--no-dry-run", "--server", fakes("bluesky").url)
    assert done.returncode == 0, done.stderr
    done = typed(bot, "note\nmisskey\n\n\n\n", "--no-dry-run", "--server", fakes("misskey").url)
    assert done.returncode == 0, done.stderr
    assert "meshibot.toml was there and stays" in done.stderr
    for name in (".env", "meshibot.toml"):
        (bot.home / f"{name}.new").replace(bot.home / name)
    assert misskey.TOKEN in (bot.home / ".env").read_text()
    for account in ("sky", "note"):
        assert bot.json("post-now", "--account", account)["state"] == "posted"


def test_a_script_asks_nobody(bot: Command, fakes: Fakes, tmp_path: Path) -> None:
    url = fakes("mastodon").url
    given = ("--no-input", "--no-dry-run", "--publisher", "mastodon")
    assert "--server is missing" in bot("init", *given).stderr
    lacks = bot("init", *given, "--server", url)
    assert lacks.returncode == 2
    assert "MESHIBOT_MASTODON_TOKEN is missing" in lacks.stderr
    secrets = tmp_path / "secrets"
    secrets.write_text(f"MESHIBOT_MASTODON_TOKEN={mastodon.TOKEN}\n")
    done = bot("init", *given, "--server", url, "--secrets", str(secrets), "--into", str(bot.here))
    assert done.returncode == 0, done.stderr
    assert (bot.here / ".env").exists()
    assert bot.json("post-now")["state"] == "posted"


def test_what_does_not_work_is_not_written(bot: Command, fakes: Fakes) -> None:
    url = fakes("mastodon").url
    given = ("--no-input", "--publisher", "mastodon", "--server", url)
    done = bot("init", *given, MASTODON_TOKEN="wrong-planted-0000")
    assert done.returncode == 2
    assert "Nothing was written: mend what failed above" in done.stderr
    assert "wrong-planted" not in done.stdout + done.stderr
    assert not bot.home.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--publisher", "myspace"), "choose one of folder, x, mastodon"),
        (("--account", "My Bot"), "take lower-case letters"),
        (("--publisher", "mastodon", "--server", "ftp://x y"), "is no address"),
        (("--schedule", "at noon"), "MESHIBOT_SCHEDULE"),
        (("--captions", "@you look {marker}"), "mentions"),
        (("--secrets", "/nowhere/at/all"), "can't be read"),
    ],
)
def test_a_wrong_answer_is_one_sentence_and_writes_nothing(
    bot: Command, options: tuple[str, ...], says: str
) -> None:
    done = bot("init", "--no-input", "--no-dry-run", *options)
    assert done.returncode == 2
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (bot.home / "meshibot.toml").exists()


def test_an_account_that_is_there_stays_as_it_is(bot: Command) -> None:
    for _ in range(2):
        done = bot("init", "--no-input", "--no-dry-run")
    assert done.returncode == 2
    assert "has an account main already" in done.stderr
    second = bot("init", "--no-input", "--no-dry-run", "--account", "noon", "--schedule", "0 12 * * *")
    assert second.returncode == 0, second.stderr
    before, after = (bot.home / name for name in ("meshibot.toml", "meshibot.toml.new"))
    assert after.read_text().startswith(before.read_text())
    assert "[accounts.noon]" in after.read_text()


def test_nobody_answers(bot: Command) -> None:
    done = typed(bot, "\nx\nkey\n")
    assert done.returncode == 2
    assert "The questions were not answered" in done.stderr
    assert not bot.home.exists()
