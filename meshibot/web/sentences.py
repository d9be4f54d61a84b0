"""What the parts of the bot say, in Japanese: errors and reasons, which are English sentences elsewhere.

A sentence is known by its shape, with its fields in it. Whatever is not here is shown as it is.
"""

import re
from collections.abc import Iterator
from functools import cache

from meshibot.web.words import WORDS, say

JAPANESE: dict[str, str] = {
    # the page itself
    "The form can't be read.": "フォームを読み取れません。",
    "There is no such page.": "そのページはありません。",
    "That can't be done here.": "ここではその操作はできません。",
    "That did not work.": "うまくいきませんでした。",
    "Something is wrong here: `meshibot web` has logged what.": (
        "内部エラーです。詳細は `meshibot web` のログにあります。"
    ),
    "at is {text}: write a date such as 2026-11-27.": (
        "日付 {text} が読み取れません。2026-11-27 のように書いてください。"
    ),
    "The time is {text}: write it like 2026-11-27T23:00.": (
        "時刻 {text} が読み取れません。2026-11-27T23:00 のように書いてください。"
    ),
    "month is {text}: write it like 2026-11.": (
        "月 {text} が読み取れません。2026-11 のように書いてください。"
    ),
    "{name} is {text}, which is no number of anything here.": (
        "{name} の番号 {text} に当たるものはありません。"
    ),
    "Say what is to be done with the slot.": "枠に対する操作を選んでください。",
    "Say of which post, and whether it is there.": "どの投稿か、投稿されているかどうかを選んでください。",
    "Say which event is to be taken back.": "元に戻す変更を選んでください。",
    "Say whether the pictures are approved or rejected.": "承認か却下かを選んでください。",
    "Say which picture.": "画像を選んでください。",
    "Select a picture first.": "先に画像を選択してください。",
    "The size is a number of pixels from 16 to {most}.": "サイズは16から{most}までのピクセル数です。",
    "A picture is being made at this moment: try again in a few seconds.": (
        "別の画像を作成中です。数秒後にもう一度試してください。"
    ),
    # pictures
    "There is no picture {picture}: see `meshibot stock list`.": "画像 {picture} はありません。",
    "Picture {picture} was changed meanwhile: look at it again, then try again.": (
        "画像 {picture} は別の場所で変更されました。見直してから、もう一度試してください。"
    ),
    "Picture {picture} is rejected already.": "画像 {picture} はすでに却下されています。",
    "Picture {picture} was posted meanwhile.": "画像 {picture} はすでに投稿されました。",
    "Picture {picture} belongs to a post: take it out of its slot first.": (
        "画像 {picture} は投稿に指定されています。先に枠の指定を取り消してください。"
    ),
    "Picture {picture} is not in the stock: {reason}": "画像 {picture} は在庫にありません。{reason}",
    "Picture {picture} is {picture_state}: choose one that waits in the stock.": (
        "画像 {picture} は使えません({picture_state})。在庫の画像を選んでください。"
    ),
    "Picture {picture} has changed since, so nothing was taken back.": (
        "画像 {picture} はその後変更されたため、何も元に戻していません。"
    ),
    "No picture waits: `meshibot stock fill` makes some.": (
        "在庫がありません。`meshibot stock fill` で増やせます。"
    ),
    (
        "No picture in stock was approved: look at them in `meshibot web`, or run `meshibot stock approve`."
    ): "承認済みの在庫がありません。審査のページ、または `meshibot stock approve` で承認してください。",
    "A person rejected it{because}.": "人が却下しました{because}。",
    "A person took it out of the stock.": "人が在庫から外しました。",
    "It looks like a recent post.": "最近の投稿に似ています。",
    "Its file is missing or empty.": "ファイルがないか、空です。",
    "Its file is damaged ({fault}).": "ファイルが壊れています({fault})。",
    # slots
    "Slot {slot} is {slot_state}: only a planned one can be changed.": (
        "枠 {slot} は変更できません({slot_state})。変更できるのは予定の枠だけです。"
    ),
    "Slot {slot} is {slot_state}: only one that was skipped is planned again.": (
        "枠 {slot} は予定に戻せません({slot_state})。戻せるのはスキップした枠だけです。"
    ),
    "Slot {slot} is at that time already: choose another minute.": (
        "同じ時刻に枠 {slot} があります。別の時刻を選んでください。"
    ),
    "Slot {slot} has changed since, so nothing was taken back.": (
        "枠 {slot} はその後変更されたため、何も元に戻していません。"
    ),
    "{what} was changed meanwhile: look at it again, then try again.": (
        "{what} は別の場所で変更されました。見直してから、もう一度試してください。"
    ),
    "{time} has passed: choose a time that is still to come.": (
        "{time} は過ぎています。これからの時刻を選んでください。"
    ),
    "{day} can't be planned: write a date between 1900 and 2999.": (
        "{day} は予定にできません。1900年から2999年までの日付を書いてください。"
    ),
    "{time} lies in the quiet hours {hours}: choose another time.": (
        "{time} は投稿しない時間帯({hours})です。別の時刻を選んでください。"
    ),
    "{account} has no slot {slot}: see `meshibot slots list`.": "{account} に枠 {slot} はありません。",
    "{account} has no slot at {time}: see `meshibot slots list`.": "{account} に {time} の枠はありません。",
    "Nothing was said for slot {slot}.": "枠 {slot} には何も指定されていません。",
    "That is one slot: name two.": "同じ枠です。二つの枠を選んでください。",
    "Nothing was said for either slot: put a picture into one first.": (
        "どちらの枠にも指定がありません。先に画像を入れてください。"
    ),
    "Event {event} ({action}) can't be taken back.": "変更 {event}({action})は元に戻せません。",
    "There is no event {event}: see `meshibot events`.": "変更 {event} はありません。",
    # words
    "The alt text has {count} of the {most} characters that {network} allows: shorten it.": (
        "代替テキストは{count}文字で、{network} の上限{most}文字を超えています。短くしてください。"
    ),
    "{what} mentions an account: networks suspend accounts for automated mentions, so take the @ out.": (
        "{what}にアカウントへのメンションがあります。自動のメンションは凍結の原因になるので、"
        "@ を外してください。"
    ),
    "{what} has a letter or a digit that touches {marker}, by which a post is found again: put a space "
    "between them.": (
        "{what}の文字や数字が {marker} に接しています。投稿を探す目印なので、間に空白を入れてください。"
    ),
    "{what} has {marker}, by which another post is found: write that number otherwise.": (
        "{what}に {marker} があります。別の投稿を探す目印なので、書き方を変えてください。"
    ),
    "The caption {fault}: shorten it.": "本文が長すぎます({fault})。短くしてください。",
    # posts
    "There is no post {post}: see `meshibot history`.": "投稿 {post} はありません。",
    "Post {post} is {post_state}, which needs no person's word.": (
        "投稿 {post} の確認は済んでいます({post_state})。"
    ),
    "That is post {post}: look for the one with this post's own number.": (
        "それは投稿 {post} です。この投稿と同じ番号のものを探してください。"
    ),
    "There is no account {account}: give one of {accounts}.": (
        "アカウント {account} はありません。{accounts} のどれかを指定してください。"
    ),
    "It was changed by somebody else at the same moment: look again, then try again.": (
        "同時に別の人が変更しました。見直してから、もう一度試してください。"
    ),
    # why a slot came to nothing, and why a post needs a person
    "It waited for the quiet hours to end, or for its turn, until its grace was over.": (
        "投稿しない時間帯の終わり、または順番を待つうちに猶予が過ぎました。"
    ),
    "No picture that a person approved was in stock (MESHIBOT_REVIEW is required).": (
        "承認済みの画像が在庫にありませんでした(MESHIBOT_REVIEW=required)。"
    ),
    "No meshibot came to it before its grace of {grace} was over.": (
        "猶予({grace})のうちに meshibot が動いていませんでした。"
    ),
    "The stock was empty.": "在庫がありませんでした。",
    (
        "The stock has too few pictures of the present checkpoint: `meshibot stock clear --others` makes "
        "room for more."
    ): "今のモデルの画像が足りません。`meshibot stock clear --others` でほかの画像を外してください。",
    "The checkpoint was changed since its pictures were chosen.": (
        "画像を選んだあとにモデルが変更されました。"
    ),
    "The daily budget (posts: {posts}) is used up.": "一日の上限({posts}件)に達しました。",
    "The monthly budget of ${dollars} is used up.": "一か月の予算(${dollars})に達しました。",
    "The schedule was changed and no longer has it.": "スケジュールが変更され、この枠はなくなりました。",
    "It lies in the quiet hours {hours}.": "投稿しない時間帯({hours})です。",
    "A person added it, and took that back.": "人が追加し、取り消しました。",
    (
        "It was restored from a backup of {time} UTC, and what it posted since is not known here. Run "
        "`meshibot resume --account {account}`, which asks its network."
    ): (
        "{time} UTC のバックアップから復元しました。その後の投稿は、"
        "`meshibot resume --account {account}` でネットワークに問い合わせます。"
    ),
    "The account is stopped: {reason}": "アカウントは停止中です。{reason}",
    "The network takes nothing from the account until {time} (its rate limit).": (
        "レート制限のため、{time} まで投稿を受け付けません。"
    ),
    "A person did not find it, and its grace is over.": (
        "人が確認したところ投稿されておらず、猶予も過ぎました。"
    ),
    "The process that sent it ended before the answer came.": (
        "送信したプロセスが、応答の前に終了しました。"
    ),
    "It can't be told whether it was posted: {reason}": "投稿されたかどうか分かりません。{reason}",
    "It may have been posted after the backup was made.": "バックアップの後に投稿された可能性があります。",
    "It may have been posted after the backup was made that was restored.": (
        "復元したバックアップの後に投稿された可能性があります。"
    ),
}

_FIELD = re.compile(r"\{(\w+)\}")
_THINGS = {"The caption": "本文", "The alt text": "代替テキスト"}
_STATES = {"picture_state": "picture", "slot_state": "slot", "post_state": "post"}


def in_japanese(sentence: str) -> str | None:
    """A sentence of the bot's in Japanese; None for one that is not known."""
    for pattern, japanese in _patterns():
        if found := pattern.fullmatch(sentence):
            return japanese.format_map({name: _value(name, said) for name, said in found.groupdict().items()})
    return None


def _value(field: str, said: str) -> str:
    """A field's value: a state by its name, and a sentence within a sentence in Japanese too."""
    if field in _STATES and (key := f"{_STATES[field]}_{said}") in WORDS:
        return say("ja", key)
    if field == "reason":
        return in_japanese(said) or said
    return _THINGS.get(said, said) if field == "what" else said


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(_each_pattern())


def _each_pattern() -> Iterator[tuple[re.Pattern[str], str]]:
    """Those that say most by themselves come first: the others may fit as well."""
    for english in sorted(JAPANESE, key=lambda text: -len(_FIELD.sub("", text))):
        parts = _FIELD.split(english)
        shape = "".join(f"(?P<{part}>.*?)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
        yield re.compile(shape, re.DOTALL), JAPANESE[english]
