"""The commands with accounts on Bluesky, Mastodon and Misskey: what a person sees, and what nobody may."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshibot import posting
from meshibot.config import load_settings
from meshibot.database import Database
from meshibot.errors import MeshibotError
from meshibot.kinds import Kind
from testbed.command import Command
from testbed.fakes import bluesky, mastodon, misskey
from testbed.fakes.network import Fakes
from testbed.homes import address, ask, network_settings, stocked, wait_for
from testbed.ledger import slot
from tests.checkpoints import make_checkpoint

NETWORKS = ("bluesky", "mastodon", "misskey")
SECRETS = (bluesky.PASSWORD, mastodon.TOKEN, misskey.TOKEN, "access-planted", "refresh-planted")


def on(network: str, url: str, tmp_path: Path, **settings: str) -> Command:
    """A home with pictures, and one account."""
    return stocked(Command(tmp_path, network_settings(network, url))).having(settings)


@pytest.mark.parametrize("network", NETWORKS)
def test_it_posts_finds_itself_and_is_taken_down(fakes: Fakes, tmp_path: Path, network: str) -> None:
    fake = fakes(network)
    bot = on(network, fake.url, tmp_path, LOG_LEVEL="debug")
    said = bot("post-now", "--json")
    assert said.returncode == 0, said.stderr
    post = json.loads(said.stdout)
    (made,) = fake.posts()
    assert (post["state"], post["remote_id"]) == ("posted", made["id"])
    assert made["text"] == post["caption"]
    ((draft,),) = ask(bot, "SELECT draft FROM posts")
    assert json.loads(draft)["draft"]["language"] == "ja"
    done = bot("delete", "1")
    assert done.returncode == 0, done.stderr
    assert len(fake.ledger("delete")) == 1
    written = [
        file.read_bytes()
        for file in bot.home.rglob("*")
        if file.is_file() and file.suffix not in (".session", ".png", ".jpg")
    ]
    for text in (said.stderr, said.stdout, done.stderr, *(data.decode("latin-1") for data in written)):
        assert not any(secret in text for secret in SECRETS)


def test_check_tells_of_each_account_its_server_and_its_captions(fakes: Fakes, tmp_path: Path) -> None:
    settings = {"ACCOUNTS": "sky toot note", "GROUP": "night"}
    settings |= network_settings("bluesky", fakes("bluesky", labels=[]).url, "sky")
    rule = {"id": "1", "text": "No bots without a human."}
    settings |= network_settings("mastodon", fakes("mastodon", rules=[rule]).url, "toot")
    settings |= network_settings("misskey", fakes("misskey", capacity=5_000_000).url, "note")
    bot = stocked(Command(tmp_path, settings))
    found = bot.json("check", status=2)  # there is no checkpoint in this home
    of = {(each["subject"], each["level"]): each["says"] for each in found}
    assert "posts to bluesky as ramen.fake.example" in of["account sky", "ok"]
    assert "The profile has no bot label" in of["account sky server", "warning"]
    assert "posts to mastodon as meshibot" in of["account toot", "ok"]
    assert "“No bots without a human.”" in of["account toot server", "warning"]
    assert "room for about 25 more posts" in of["account note server", "warning"]
    for account in ("sky", "toot", "note"):
        assert "within what" in of[f"account {account} captions", "ok"]


def post_now() -> None:
    settings = load_settings()
    posting.post_now(settings, settings.account(None), Kind.SINGLE)


@pytest.mark.parametrize(
    ("network", "wrong", "says", "status"),
    [
        ("bluesky", {"BLUESKY_APP_PASSWORD": "nope-nope"}, "refuses the handle or the app password", 4),
        ("mastodon", {"MASTODON_TOKEN": "nope-nope"}, "refuses the token (401", 4),
        ("misskey", {"MISSKEY_TOKEN": "nope-nope"}, "refuses the token (401", 4),
        ("mastodon", {"MASTODON_SERVER": "https://nobody.invalid"}, "its name can't be looked up", 1),
        ("misskey", {"MISSKEY_SERVER": "not an address"}, "MESHIBOT_MISSKEY_SERVER is 'not an address'", 2),
        ("bluesky", {"VISIBILITY": "unlisted"}, "can't show a post as unlisted: set MESHIBOT_VISIBILITY", 2),
        ("bluesky", {"SENSITIVE": "yes"}, "can't mark a picture as sensitive in general", 2),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_lost(
    fakes: Fakes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: str,
    wrong: dict[str, str],
    says: str,
    status: int,
) -> None:
    fake = fakes(network)
    bot = on(network, fake.url, tmp_path)
    for name, value in bot.environment(**wrong).items():
        if name.startswith("MESHIBOT_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(bot.here)
    with pytest.raises(MeshibotError, match=re.escape(says)) as caught:
        post_now()
    assert caught.value.exit_status == status
    assert fake.posts() == []
    assert ask(bot, "SELECT count(*) FROM pictures WHERE state != 'approved'") == [(0,)]


def test_a_caption_that_only_this_server_finds_too_long_is_said_at_check(
    fakes: Fakes, tmp_path: Path
) -> None:
    limits = mastodon.CONFIGURATION["statuses"] | {"max_characters": 10}
    fake = fakes("mastodon", configuration=mastodon.CONFIGURATION | {"statuses": limits})
    bot = on("mastodon", fake.url, tmp_path)
    found = bot.json("check", status=2)
    (captions,) = [each for each in found if each["subject"] == "account main captions"]
    assert captions["level"] == "failed"
    assert "of the 10 characters that Mastodon allows" in captions["says"]
    refused = bot.refused("post-now", status=2)
    assert "of the 10 characters that Mastodon allows" in refused, "it is known from then on"
    assert ask(bot, "SELECT count(*) FROM pictures WHERE state = 'approved'") == [(4,)]


def test_a_group_posts_one_picture_on_three_networks(fakes: Fakes, tmp_path: Path) -> None:
    names = {"sky": "bluesky", "toot": "mastodon", "note": "misskey"}
    settings = {"ACCOUNTS": " ".join(names), "GROUP": "night", "SCHEDULE": "0 0 29 2 *"}
    networks = {account: fakes(network) for account, network in names.items()}
    for account, network in names.items():
        settings |= network_settings(network, networks[account].url, account)
    bot = stocked(Command(tmp_path, settings))
    moment = datetime.now(UTC)
    with Database.open(address(bot)) as database:
        for account in names:
            slot(database, moment, account)
    ask_for = "SELECT count(*) FROM posts WHERE state = 'posted'"
    with bot.start("run") as daemon:
        wait_for(lambda: ask(bot, ask_for) == [(3,)])
        daemon.terminate()
        daemon.communicate(timeout=60)
    history = bot.json("history")
    assert len({post["group"] for post in history}) == 1
    assert len({post["pictures"][0]["id"] for post in history}) == 1
    assert [len(fake.posts()) for fake in networks.values()] == [1, 1, 1]


def test_a_morph_is_posted_once_where_it_moves(fakes: Fakes, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "tiny.safetensors")
    fake = fakes("mastodon", processing=2)
    bot = on("mastodon", fake.url, tmp_path, CHECKPOINT=str(checkpoint), MIN_QUANTILE="0", CAPTIONS="en")
    post = bot.json("post-now", "--kind", "morph")
    assert (post["state"], post["kind"], len(post["pictures"])) == ("posted", "morph", 2)
    assert "slowly turns into another" in post["alt_text"]
    (made,) = fake.posts()
    (upload,) = fake.ledger("upload")
    assert made["media_ids"] == [upload["id"]]
    assert fake.requests("upload") == 1
    assert post["picture"].endswith("main-0001.gif")


def test_kinds_that_can_not_be_are_refused_in_a_sentence(fakes: Fakes, tmp_path: Path) -> None:
    fake = fakes("bluesky")
    bot = on("bluesky", fake.url, tmp_path, KINDS="single, sun morph")
    still = (
        "The account main: Bluesky shows no GIF that moves: take morph out of MESHIBOT_KINDS for this "
        "account."
    )
    assert bot.refused("run", status=2) == still
    checked = bot("check")
    assert checked.returncode == 2
    assert still in checked.stdout
    assert bot.refused("post-now", "--kind", "morph", status=2, KINDS="single") == still
    assert "set MESHIBOT_RUN" in bot.refused("run", status=2, KINDS="before-and-after")
    assert fake.requests("put") == 0
