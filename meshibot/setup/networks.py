"""What each network needs of its account, and how to come by it: settings to values, secrets among them."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from meshibot.errors import UsageError
from meshibot.layered import variable
from meshibot.setup.questions import Questions
from meshibot.setup.tokens import mastodon_token, misskey_token, x_tokens

Answers = dict[str, str]


@dataclass(frozen=True)
class Network:
    """A network as `init` speaks of it."""

    says: str
    ask: Callable[[Questions], Answers]


def _folder(_: Questions) -> Answers:
    return {}


def _x(questions: Questions) -> Answers:
    _say(
        questions,
        "At console.x.com: log in as the account that is to post, make an app with 'Read and write', buy\n"
        "a few credits, and open the app's 'Keys and tokens'. Label the account as automated there.",
    )
    app = {
        "x_consumer_key": questions.secret("x_consumer_key", "Consumer key"),
        "x_consumer_secret": questions.secret("x_consumer_secret", "Consumer secret"),
    }
    token = questions.secret("x_access_token", "Access token (empty: let X make it, by a PIN)", or_none=True)
    if not token:
        return app | x_tokens(app, os.environ.get(variable("x_api_base")), questions)
    secret = questions.secret("x_access_token_secret", "Access token secret")
    return {**app, "x_access_token": token, "x_access_token_secret": secret}


def _mastodon(questions: Questions) -> Answers:
    _say(questions, "Choose a server whose rules allow bots and pictures made by AI; `check` shows them.")
    server = _address(questions.ask("server", "The account's server, such as example.social"))
    if questions.has_secret("mastodon_token") or not questions.asks:
        token = questions.secret("mastodon_token", "")
    else:
        token = mastodon_token(server, questions)
    return {"mastodon_server": server, "mastodon_token": token}


def _misskey(questions: Questions) -> Answers:
    server = _address(questions.ask("server", "The account's server, such as misskey.example"))
    if questions.has_secret("misskey_token") or not questions.asks:
        token = questions.secret("misskey_token", "")
    else:
        token = misskey_token(server, questions)
    return {"misskey_server": server, "misskey_token": token}


def _bluesky(questions: Questions) -> Answers:
    handle = questions.ask("handle", "The account's handle, such as ramen.bsky.social")
    _say(
        questions,
        "Make an app password at bsky.app, Settings, Privacy and security; never the account's own.",
    )
    answers = {
        "bluesky_handle": handle,
        "bluesky_app_password": questions.secret("bluesky_app_password", "App password"),
    }
    server = questions.given.get("server")
    return answers | ({"bluesky_service": _address(server)} if server else {})


NETWORKS: Mapping[str, Network] = {
    "folder": Network("pictures, captions and alt texts as files: no account needed", _folder),
    "x": Network("X, about $0.02 a picture", _x),
    "mastodon": Network("Mastodon and what speaks its API, free", _mastodon),
    "bluesky": Network("Bluesky, free", _bluesky),
    "misskey": Network("Misskey and its forks, free", _misskey),
}


def _address(said: str) -> str:
    text = said.strip().rstrip("/")
    address = text if "://" in text else f"https://{text}"
    if not address.startswith(("https://", "http://")) or " " in address or len(address) < 11:
        raise UsageError(f"The server {said!r} is no address: write it like https://example.social.")
    return address


def _say(questions: Questions, text: str) -> None:
    """Advice, for those who are asked."""
    if questions.asks:
        print(text, file=sys.stderr)
