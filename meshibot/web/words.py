"""What the pages say, in English and Japanese side by side."""

from typing import Literal, get_args

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

NAMES: dict[Language, str] = {"en": "English", "ja": "日本語"}

WORDS: dict[str, tuple[str, str]] = {
    # the frame
    "skip_to_content": ("Skip to content", "本文へ"),
    "home": ("Home", "ホーム"),
    "review": ("Review", "審査"),
    "gallery": ("Gallery", "ギャラリー"),
    "calendar": ("Calendar", "カレンダー"),
    "insights": ("Insights", "反応"),
    "training": ("Training", "学習"),
    "main_menu": ("Main", "メインメニュー"),
    "log_out": ("Log out", "ログアウト"),
    "language": ("Language", "言語"),
    "undo": ("Undo", "元に戻す"),
    "back": ("Back", "戻る"),
    "close": ("Close", "閉じる"),
    "save": ("Save", "保存"),
    "show": ("Show", "表示"),
    "all": ("All", "すべて"),
    "version": ("meshibot {version}", "meshibot {version}"),
    "of": ("{n} of {total}", "{total}件中{n}件"),
    "what_now": (
        "Nothing was lost. Go back and look again.",
        "データは失われていません。戻って確認してください。",
    ),
    # errors that have no sentence in the language
    "error_input": ("That can't be so", "入力を確認してください"),
    "error_state": ("That can't be done now", "いまはその操作はできません"),
    "error_database": ("The database can't be used", "データベースを使えません"),
    "error_other": ("That did not work", "うまくいきませんでした"),
    # what is refused before a page is reached
    "refused_name": (
        "This is not a name of this page: see `meshibot web --help`, --name.",
        "このページの名前ではありません。`meshibot web --help` の --name を見てください。",
    ),
    "refused_elsewhere": (
        "This came from another page, so nothing was done.",
        "別のページから送られたため、何も行いませんでした。",
    ),
    "refused_stranger": (
        "Log in first: nothing was done.",
        "先にログインしてください。何も行いませんでした。",
    ),
    "refused_logins": (
        "Too many tries to log in: wait a minute.",
        "ログインの試行が多すぎます。1分待ってください。",
    ),
    "refused_writes": ("Too many requests: wait a minute.", "操作が多すぎます。1分待ってください。"),
    "refused_size": ("The form is too large.", "送られた内容が大きすぎます。"),
    # login
    "log_in": ("Log in", "ログイン"),
    "token": ("Token", "トークン"),
    "token_hint": (
        "It is in the file web-token in the bot's home. `meshibot web --link` prints a link instead.",
        "ボットのホームにある web-token ファイルの中身です。`meshibot web --link` でリンクも作れます。",
    ),
    "link_hint": (
        "This link lets you in once.",
        "このリンクで一度だけログインできます。",
    ),
    "login_failed": (
        "That did not let you in: the link was used or is too old, or the token is another one. "
        "`meshibot web --link` prints a new link.",
        "ログインできませんでした。リンクが使用済みか期限切れ、またはトークンが違います。"
        "`meshibot web --link` で新しいリンクを作れます。",
    ),
    # home
    "needs_you": ("Needs you", "対応が必要"),
    "nothing_needs_you": ("Nothing needs you.", "対応が必要なものはありません。"),
    "unclear_post": (
        "{marker} on {account} may have been posted",
        "{account} の {marker} は投稿されたか不明です",
    ),
    "look_there": ("Look for it on the account, then say:", "アカウントで探して、結果を教えてください。"),
    "it_is_there": ("It is there", "投稿されている"),
    "it_is_absent": ("It is not there", "投稿されていない"),
    "address_of_post": ("Its address", "投稿のURL"),
    "account_stopped": ("{account} is stopped", "{account} は停止中です"),
    "resume_hint": (
        "Mend the cause, then run `meshibot resume --account {account}`.",
        "原因を解決してから `meshibot resume --account {account}` を実行してください。",
    ),
    "too_few_approved": (
        "{n} pictures approved, and the next 24 hours need {needed}",
        "これから24時間に必要な{needed}枚に対して承認済みは{n}枚です",
    ),
    "too_few_hint": (
        "Only approved pictures are posted: slots without one are missed.",
        "承認済みの画像だけが投稿されます。足りない枠は見送られます。",
    ),
    "review_now": ("Review {n} pictures", "{n}枚を審査する"),
    "missed_lately": ("Missed in the last week", "この一週間の見送り"),
    "next_slots": ("Next", "次の投稿"),
    "no_next": (
        "No slot is ahead: set MESHIBOT_SCHEDULE.",
        "予定がありません。MESHIBOT_SCHEDULE を設定してください。",
    ),
    "nothing_waits": ("no picture waits", "在庫なし"),
    "stock_next": ("next in stock", "在庫の先頭"),
    "chosen_by_you": ("chosen", "指定済み"),
    "last_posts": ("Last posts", "最近の投稿"),
    "no_posts": (
        "Nothing is posted yet: `meshibot post-now` makes the first one.",
        "まだ投稿はありません。`meshibot post-now` で最初の一枚を投稿できます。",
    ),
    "stock": ("Stock", "在庫"),
    "approved_count": ("approved", "承認済み"),
    "today": ("Today", "今日"),
    "this_month": ("This month", "今月"),
    "daemon": ("Daemon", "デーモン"),
    "daemon_runs": ("runs, seen {when}", "動作中({when}に確認)"),
    "daemon_dead": ("does not run, seen {when}", "停止中({when}に確認)"),
    "daemon_never": ("does not run: start `meshibot run`", "未起動。`meshibot run` で起動します"),
    "lately": ("Changes", "最近の変更"),
    "no_events": ("Nothing was changed by hand yet.", "手動の変更はまだありません。"),
    # review
    "approve": ("Approve", "承認"),
    "reject": ("Reject", "却下"),
    "reject_because": ("Reject because", "却下の理由"),
    "alike": ("like others", "似ている"),
    "no-bowl": ("no bowl", "丼がない"),
    "blurred": ("blurred", "ぼやけ"),
    "other": ("other", "その他"),
    "previous": ("Previous", "前へ"),
    "next": ("Next", "次へ"),
    "one_at_a_time": ("One at a time", "一枚ずつ"),
    "as_grid": ("Grid", "一覧"),
    "waiting": ("To review", "未審査"),
    "approved": ("Approved", "承認済み"),
    "rejected": ("Rejected", "却下済み"),
    "which_pictures": ("Which pictures", "表示する画像"),
    "nothing_to_review": ("All pictures are reviewed.", "すべて審査済みです。"),
    "none_here": ("No picture is here.", "該当する画像はありません。"),
    "fill_hint": ("`meshibot stock fill` makes more.", "`meshibot stock fill` で増やせます。"),
    "picture_n": ("Picture {n}", "画像 {n}"),
    "generated_bowl": ("Generated picture {n}", "生成画像 {n}"),
    "quantile": ("Above", "上回る割合"),
    "quantile_of": ("{n} of real photographs", "本物の写真の{n}"),
    "score": ("Score", "スコア"),
    "seed": ("Seed", "シード"),
    "made": ("Made", "生成"),
    "nearest": ("Nearest earlier post", "最も似た過去の投稿"),
    "no_nearest": ("Nothing is posted yet.", "まだ投稿がありません。"),
    "differs_by": ("{n} of 64 bits differ", "64ビット中{n}ビットが相違"),
    "looks_alike": ("looks alike", "よく似ています"),
    "edit": ("Edit the words", "文を編集"),
    "for_slot": ("Slot", "枠"),
    "words_hint": (
        "Said by the post that shows this picture alone, whichever it will be.",
        "どの投稿になっても、この画像を一枚で見せるときに使います。",
    ),
    "caption": ("Caption", "本文"),
    "caption_hint": (
        "Empty: the account's own. {marker} is its number.",
        "空欄ならアカウントの定型文。{marker} は番号になります。",
    ),
    "alt_text": ("Alt text", "代替テキスト"),
    "use_here": ("Put it there", "この枠に入れる"),
    "selected": ("{n} selected", "{n}枚選択中"),
    "select_picture": ("Select picture {n}", "画像 {n} を選択"),
    "approve_selected": ("Approve selected", "選択を承認"),
    "reject_selected": ("Reject selected", "選択を却下"),
    "more": ("More", "続き"),
    "first_page": ("First page", "最初のページ"),
    # keys
    "keys": ("Keys", "キー操作"),
    "keys_on": ("Keys are on", "キー操作を使う"),
    "key_next": ("next", "次へ"),
    "key_previous": ("previous", "前へ"),
    "key_approve": ("approve", "承認"),
    "key_reject": ("reject; in the grid: select", "却下(一覧では選択)"),
    "key_reason": ("reject with this reason", "理由を付けて却下"),
    "key_edit": ("edit the words", "文を編集"),
    "key_undo": ("undo", "元に戻す"),
    "key_grid": ("grid, or one at a time", "一覧と一枚ずつの切り替え"),
    "key_keys": ("this list", "この一覧"),
    # gallery
    "account": ("Account", "アカウント"),
    "network": ("Network", "投稿先"),
    "month": ("Month", "月"),
    "checkpoint": ("Checkpoint", "モデル"),
    "older": ("Older", "以前"),
    "newest": ("Newest", "最新"),
    "no_match": ("No post is like that.", "該当する投稿はありません。"),
    "taken_down": ("taken down", "削除済み"),
    # a picture
    "from_where": ("Where it came from", "生成元"),
    "step": ("Step", "ステップ"),
    "state": ("State", "状態"),
    "reason": ("Reason", "理由"),
    "posts": ("Posts", "投稿"),
    "not_posted": ("It is in no post.", "投稿されていません。"),
    "open_post": ("Open on {network}", "{network}で開く"),
    "reactions": ("Reactions", "反応"),
    "likes": ("{n} likes", "いいね {n}"),
    "reposts": ("{n} reposts", "リポスト {n}"),
    "replies": ("{n} replies", "返信 {n}"),
    "views": ("{n} views", "表示 {n}"),
    "read_at": ("read {when}", "{when}に取得"),
    "make_again": ("Make it again", "もう一度作る"),
    "size": ("Size in pixels", "サイズ(px)"),
    "make_again_hint": (
        "The same seed through the same checkpoint; it takes a few seconds.",
        "同じシードと同じモデルから作り直します。数秒かかります。",
    ),
    "checkpoint_gone": (
        "Its checkpoint is not the one in MESHIBOT_CHECKPOINT, so it can't be made again.",
        "このモデルは MESHIBOT_CHECKPOINT と異なるため、作り直せません。",
    ),
    "put_into_slot": ("Put it into a slot", "枠に入れる"),
    "verdict": ("Your word", "審査結果"),
    # calendar
    "week": ("Week", "週"),
    "month_view": ("Month", "月"),
    "view": ("View", "表示"),
    "earlier": ("Earlier", "前へ"),
    "later": ("Later", "次へ"),
    "times_in": ("Times in {zone}", "時刻は{zone}"),
    "quiet_hours": ("Quiet hours {hours}", "投稿しない時間帯 {hours}"),
    "clocks_forward": ("Clocks go forward by {minutes} minutes", "時計が{minutes}分進みます"),
    "clocks_back": ("Clocks go back by {minutes} minutes", "時計が{minutes}分戻ります"),
    "slot_planned": ("planned", "予定"),
    "slot_expected": ("planned", "予定"),
    "slot_taken": ("posted", "投稿"),
    "slot_missed": ("missed", "見送り"),
    "slot_skipped": ("skipped", "スキップ"),
    "slot_quiet": ("quiet", "休止"),
    "meant_for": ("meant for {time}", "本来は{time}"),
    "add_slot": ("Add a slot", "枠を追加"),
    "add": ("Add", "追加"),
    "slot_of": ("{account}, {when}", "{account}、{when}"),
    "skip_slot": ("Skip", "スキップ"),
    "restore_slot": ("Plan again", "予定に戻す"),
    "move_to": ("Move to", "移動先"),
    "move": ("Move", "移動"),
    "swap_with": ("Swap with", "入れ替える枠"),
    "swap": ("Swap", "入れ替え"),
    "choose_picture": ("Choose a picture", "画像を選ぶ"),
    "write_words": ("Words", "文"),
    "take_out": ("Take back what was chosen", "指定を取り消す"),
    "cant_change": ("It can't be changed any more.", "この枠はもう変更できません。"),
    "and_more": ("and {n} more", "ほか{n}件"),
    "no_slots": ("No slot is in this time.", "この期間に枠はありません。"),
    # insights
    "last_year": ("Last year", "この一年"),
    "all_time": ("All", "すべて"),
    "span": ("Time", "期間"),
    "counted": (
        "{n} of {total} posts are counted, each when it was a day old.",
        "{total}件のうち{n}件を集計しました(投稿から一日たった時点の値です)。",
    ),
    "none_counted": (
        "No post is a day old and counted yet.",
        "集計できる投稿はまだありません(投稿から一日後に集計します)。",
    ),
    "no_reactions": (
        "Nobody can answer to a post of {account} where it is, so there is nothing to count.",
        "{account} の投稿先には反応の仕組みがないため、集計するものはありません。",
    ),
    "not_read": (
        "Reactions to the posts of {account} are not asked for: see MESHIBOT_REACTIONS.",
        "{account} への反応は調べていません。MESHIBOT_REACTIONS を参照してください。",
    ),
    "reading_cost": (
        "Asking cost ${spent} this month, and costs up to ${most} a post.",
        "問い合わせの費用は今月 ${spent}、一投稿あたり最大 ${most} です。",
    ),
    "reactions_a_post": ("Reactions a post", "一投稿あたりの反応"),
    "how_to_read": (
        "A bar is the mean of likes, reposts and replies together, and its line holds the true one {level} "
        "of the time. Of two rows whose lines overlap neither need be better. Dashed: all posts, {usual}.",
        "棒は、いいね・再投稿・返信の合計の平均です。横線の区間は、{level}の確率で本当の平均を含みます。"
        "区間が重なる二つの行は、どちらが良いとも言えません。破線は全体の平均({usual})です。",
    ),
    "interval": ("{level} interval", "{level}区間"),
    "by_hour": ("By hour", "時刻"),
    "by_weekday": ("By weekday", "曜日"),
    "by_kind": ("By kind", "形"),
    "by_checkpoint": ("By checkpoint", "モデル"),
    "by_score": ("By score", "スコア"),
    "score_hint": (
        "Of a post's weakest picture: above so many real photographs.",
        "投稿のうち最も低い画像が、本物の写真の何割を上回るか。",
    ),
    "kind_single": ("one picture", "一枚"),
    "kind_grid": ("grid of four", "四枚組"),
    "kind_grid9": ("grid of nine", "九枚組"),
    "kind_morph": ("morph", "移ろう動画"),
    "kind_before-and-after": ("before and after", "上達の四段階"),
    # training
    "no_run": (
        "No run folder was given: `meshibot web --run FOLDER`.",
        "学習フォルダがありません。`meshibot web --run FOLDER` で指定します。",
    ),
    "run_name": ("Run {name}", "学習 {name}"),
    "steps_done": ("Step {n} of {total}", "{total}ステップ中{n}"),
    "images_per_s": ("{n} pictures a second", "毎秒{n}枚"),
    "last_written": ("written {when}", "{when}に更新"),
    "no_metrics": ("The run has written nothing yet.", "まだ記録がありません。"),
    "same_latents": ("The same latents, step by step", "同じ潜在変数の変化"),
    "sheet_of_step": ("Samples at step {n}", "ステップ{n}のサンプル"),
    "chart_critic": ("Critic loss", "識別器の損失"),
    "chart_generator": ("Generator loss", "生成器の損失"),
    "chart_wasserstein": ("Wasserstein estimate", "ワッサースタイン距離"),
    "chart_kid": ("KID", "KID"),
    "chart_swd": ("Sliced Wasserstein distance", "スライス・ワッサースタイン距離"),
    "chart_says": (
        "from {first} at step {from_step} to {last} at step {to_step}",
        "ステップ{from_step}の{first}から、ステップ{to_step}の{last}へ",
    ),
    "held_out": ("held out", "検証用"),
    # notes
    "did_approve": ("Approved.", "承認しました。"),
    "did_reject": ("Rejected.", "却下しました。"),
    "did_write": ("The words are kept.", "文を保存しました。"),
    "did_many": ("{n} changed.", "{n}件を変更しました。"),
    "did_skip": ("Skipped.", "スキップしました。"),
    "did_restore": ("Planned again.", "予定に戻しました。"),
    "did_move": ("Moved.", "移動しました。"),
    "did_add": ("Added.", "追加しました。"),
    "did_put": ("The slot has its picture.", "枠に画像を入れました。"),
    "did_clear": ("Taken back.", "指定を取り消しました。"),
    "did_swap": ("Swapped.", "入れ替えました。"),
    "did_undo": ("Undone.", "元に戻しました。"),
    "did_resolve": ("Thank you: noted.", "記録しました。"),
    "did_not": ("{n} were not changed: {why}", "{n}件は変更されませんでした。{why}"),
    # events
    "event_approve": ("approved picture {picture}", "画像 {picture} を承認"),
    "event_reject": ("rejected picture {picture}", "画像 {picture} を却下"),
    "event_write": ("wrote words for picture {picture}", "画像 {picture} の文を編集"),
    "event_skip": ("skipped slot {slot}", "枠 {slot} をスキップ"),
    "event_restore": ("planned slot {slot} again", "枠 {slot} を予定に戻した"),
    "event_move": ("moved slot {slot}", "枠 {slot} を移動"),
    "event_add": ("added slot {slot}", "枠 {slot} を追加"),
    "event_put": ("chose what slot {slot} shows", "枠 {slot} の内容を指定"),
    "event_clear": ("took back what slot {slot} shows", "枠 {slot} の指定を取り消し"),
    "event_swap": ("swapped slot {slot}", "枠 {slot} を入れ替え"),
    "event_undo": ("took something back", "変更を元に戻した"),
    "event_resolve": ("said whether post {post} is there", "投稿 {post} の有無を回答"),
    "event_cancel": ("withdrew post {post}", "投稿 {post} を取り下げ"),
    "event_delete": ("took post {post} down", "投稿 {post} を削除"),
    "event_resume": ("let {account} go on", "{account} を再開"),
    "event_second post": ("saw post {post} twice on its network", "投稿 {post} が二重にあることを確認"),
    "event_restore_account": ("restored {account} from a backup", "{account} をバックアップから復元"),
    "event_take in": ("took in what {account} had posted since", "{account} のその後の投稿を取り込み"),
    # times
    "in_minutes": ("in {n} min", "{n}分後"),
    "in_hours": ("in {n} h", "{n}時間後"),
    "in_days": ("in {n} days", "{n}日後"),
    "minutes_ago": ("{n} min ago", "{n}分前"),
    "hours_ago": ("{n} h ago", "{n}時間前"),
    "days_ago": ("{n} days ago", "{n}日前"),
    "now": ("now", "今"),
    # states of a picture and a post
    "picture_candidate": ("candidate", "候補"),
    "picture_approved": ("in stock", "在庫"),
    "picture_reserved": ("chosen for a post", "投稿に指定"),
    "picture_posted": ("posted", "投稿済み"),
    "picture_rejected": ("out of the stock", "除外"),
    "post_approved": ("approved", "承認済み"),
    "post_planned": ("planned", "予定"),
    "post_claimed": ("being posted", "投稿中"),
    "post_uploaded": ("being posted", "投稿中"),
    "post_sending": ("being posted", "投稿中"),
    "post_retry": ("waits for another try", "再試行待ち"),
    "post_unknown": ("being looked for", "確認中"),
    "post_posted": ("posted", "投稿済み"),
    "post_rejected": ("refused", "拒否"),
    "post_missed": ("given up", "見送り"),
    "post_needs_person": ("needs you", "対応が必要"),
    "post_cancelled": ("withdrawn", "取り下げ"),
    "post_deleted": ("taken down", "削除済み"),
}

WEEKDAYS: dict[Language, tuple[str, ...]] = {
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "ja": ("月", "火", "水", "木", "金", "土", "日"),
}
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip


def say(language: Language, key: str, **values: object) -> str:
    """A text of ours, filled in. KeyError for one that there is not."""
    text = WORDS[key][LANGUAGES.index(language)]
    return text.format(**values) if values else text


def preferred(accepted: str) -> Language | None:
    """The language that an Accept-Language header likes best, of those that we speak."""
    found: list[tuple[float, Language]] = []
    for place, part in enumerate(accepted[:500].split(",")):
        name, _, options = part.strip().partition(";")
        code = name.partition("-")[0].lower()
        quality = options.replace(" ", "").removeprefix("q=") or "1"
        try:
            weight = float(quality) - place * 1e-6
        except ValueError:
            continue
        found += [(weight, known) for known in LANGUAGES if known == code and weight > 0]
    return max(found, default=(0.0, None))[1]
