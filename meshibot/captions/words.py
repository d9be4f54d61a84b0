"""Our own lines, labels and alt texts. They say that a picture is generated; no link, mention or tag."""

from datetime import datetime
from typing import Literal, get_args

from meshibot.kinds import Kind

Language = Literal["ja", "en"]
Part = Literal["day", "evening", "night"]
"""Of a day: of the hours of `evening` those of `night` are the later part."""

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Season = Literal["spring", "summer", "autumn", "winter"]
Occasion = Part | Weekday | Season | Literal["new year"]
"""When a line may be said. The new year goes from its eve to the third of January."""
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
SEASONS: tuple[Season, ...] = get_args(Season)

_SOUTHERN = (
    "Africa/Johannesburg", "America/Argentina/", "America/Asuncion", "America/Montevideo", "America/Santiago",
    "America/Sao_Paulo", "Antarctica/", "Australia/", "Pacific/Auckland",
)  # fmt: skip
"""Time zones whose seasons are the other way round."""
_PARTS: dict[Part, tuple[int, int]] = {"day": (5, 17), "evening": (17, 5), "night": (21, 5)}

_LINES: dict[Language, dict[Occasion | None, tuple[str, ...]]] = {
    "ja": {
        None: (
            "のれんは出ていません。でも、できました。",
            "小腹がすいた人、手をあげてください。",
            "カロリーゼロ。食べられませんから。",
            "券売機のボタンを押したら、これが出てきました。",
            "お品書きにない一品、入りました。",
        ),
        "day": (
            "お昼はお決まりですか。こちら、売っていませんが。",
            "日の高いうちから失礼します。どこにもない店です。",
            "休憩中の皆さま、湯気だけどうぞ。",
            "晩ごはんまで、これを眺めてお待ちください。",
        ),
        "evening": (
            "湯気の向こうから、今夜の一品が届きました。",
            "今夜もどこにもない店から、お届けします。",
        ),
        "night": (
            "深夜の飯テロ、失礼します。",
            "こんな時間ですが、おひとつどうぞ。",
            "寝る前に見てはいけないやつです。",
            "お待たせしました、夜更かしの皆さま🌙",
            "明日の昼ごはん、もう決まりましたね。",
        ),
        "monday": ("月曜日です。せめて、これを。",),
        "tuesday": ("火曜日、火加減は上々。火はありませんが。",),
        "wednesday": ("水曜定休。のはずが、できてしまいました。",),
        "thursday": ("木曜日。あと一日、これでしのいでください。",),
        "friday": ("金曜日、おつかれさまです。一品サービスします。存在しませんが。",),
        "saturday": ("土曜日の品書きは、これ一つ。",),
        "sunday": ("日曜日も営業中。店はありませんが。",),
        "spring": (
            "お花見の席に、どこにもない店から差し入れです。",
            "春の新作です。材料はどこにも生えていません。",
        ),
        "summer": (
            "暑いので、誰も厨房に立っていません。なのに、できました。",
            "夏バテでも、見るだけなら入ります。",
        ),
        "autumn": (
            "食欲の秋です。食べられませんが。",
            "秋の新作です。味見は誰もしていません。",
        ),
        "winter": (
            "指先が冷えたら、画面越しに温まってください。",
            "寒い日の一品です。湯気は本物ではありません。",
        ),
        "new year": (
            "年末年始も休まず営業。店はありませんが。",
            "どこにもない店を、これからもどうぞよろしく。",
        ),
    },
    "en": {
        None: (
            "Fresh out of a kitchen that isn't there.",
            "The shop is closed, the shop never was, your order is ready.",
            "Anyone a little hungry?",
            "Zero calories, since nobody can eat it.",
            "We pressed the only button on the ticket machine, and out came this.",
        ),
        "day": (
            "Lunch is served, though nowhere in particular.",
            "A little early, but the kitchen never existed anyway.",
            "For your break: steam only, no dish.",
            "Something to look at until dinner.",
        ),
        "evening": (
            "Tonight's special is not on the menu, or on this earth.",
            "Straight from the counter at the end of no street.",
        ),
        "night": (
            "It's far too late for this. Here is one anyway.",
            "Do not look at this before bed.",
            "For everyone who should be asleep by now 🌙",
            "No second helpings tonight: it was only a dream.",
            "So that settles tomorrow's lunch.",
        ),
        "monday": ("It's Monday. Have this, at least.",),
        "tuesday": ("Tuesday's special, the only one of its kind.",),
        "wednesday": ("Halfway through the week, and the kitchen still isn't there.",),
        "thursday": ("Thursday: one more day on an empty plate.",),
        "friday": ("It's Friday. You have earned something that exists.",),
        "saturday": ("Saturday's menu has one line, and it isn't true.",),
        "sunday": ("Open on Sundays, in no street at all.",),
        "spring": (
            "Picnic season: bring nothing, there is nothing to eat.",
            "Fresh from the spring menu, grown nowhere.",
        ),
        "summer": (
            "Too hot to cook, so nobody did.",
            "Best served in the shade, or not at all.",
        ),
        "autumn": (
            "The season of good appetites, and of food that you can't have.",
            "A new dish for autumn. Nobody has tasted it.",
        ),
        "winter": (
            "Cold hands? Warm them on this picture.",
            "For a cold day: plenty of steam, no kitchen.",
        ),
        "new year": (
            "Open over the new year, at the same address: none.",
            "Another year of a shop that isn't there.",
        ),
    },
}

_RAMEN_LINES: dict[Language, dict[Occasion | None, tuple[str, ...]]] = {
    "ja": {
        None: ("替え玉はございません。夢なので🍜", "スープは最後の一滴まで架空です。"),
        "night": ("夜のラーメン、実在しなければ罪もない🍜",),
    },
    "en": {
        None: ("The broth is imaginary down to the last drop.",),
        "night": ("Late-night ramen, coming through 🍜",),
    },
}
"""Said where the food is ramen."""

_LABELS: dict[Language, dict[Kind, str]] = {
    "ja": {
        Kind.SINGLE: "AIが描いた、実在しない{food}",
        Kind.GRID: "AIが描いた、実在しない{food}、四つ",
        Kind.GRID_OF_NINE: "AIが描いた、実在しない{food}、九つ",
        Kind.MORPH: "AIが描いた、移ろう{food}",
        Kind.BEFORE_AND_AFTER: "AIが描いた、ひとつの{food}、上達の四段階",
    },
    "en": {
        Kind.SINGLE: "{food} made by AI, found nowhere",
        Kind.GRID: "four times {food} made by AI, found nowhere",
        Kind.GRID_OF_NINE: "nine times {food} made by AI, found nowhere",
        Kind.MORPH: "{food} made by AI, forever changing",
        Kind.BEFORE_AND_AFTER: "{food} made by AI, in four stages of its learning",
    },
}
_RAMEN_LABELS: dict[Language, dict[Kind, str]] = {
    "ja": {
        Kind.SINGLE: "AIが描いた、実在しない一杯",
        Kind.GRID: "AIが描いた、実在しない四杯",
        Kind.GRID_OF_NINE: "AIが描いた、実在しない九杯",
        Kind.MORPH: "AIが描いた、移ろう一杯",
        Kind.BEFORE_AND_AFTER: "AIが描いた、ひとつの一杯、上達の四段階",
    },
    "en": {
        Kind.SINGLE: "a bowl made by AI, found nowhere",
        Kind.GRID: "four bowls made by AI, found nowhere",
        Kind.GRID_OF_NINE: "nine bowls made by AI, found nowhere",
        Kind.MORPH: "a bowl made by AI, forever changing",
        Kind.BEFORE_AND_AFTER: "a bowl made by AI, in four stages of its learning",
    },
}

_ALT_TEXTS: dict[Language, dict[Kind, str]] = {
    "ja": {
        Kind.SINGLE: "ニューラルネットワーク(GAN)が生成した、{food}の画像。実在の料理の写真ではありません。",
        Kind.GRID_OF_NINE: "ニューラルネットワーク(GAN)が生成した、{food}の画像を縦横3枚ずつ、9枚並べたもの。"
        "どれも実在の料理の写真ではありません。",
        Kind.GRID: "ニューラルネットワーク(GAN)が生成した、{food}の画像を縦横2枚ずつ、4枚並べたもの。"
        "どれも実在の料理の写真ではありません。",
        Kind.MORPH: "ニューラルネットワーク(GAN)が生成した、{food}が少しずつ別のものに変わる動画。"
        "実在の料理ではありません。",
        Kind.BEFORE_AND_AFTER: "ニューラルネットワーク(GAN)が同じ一枚を学習の四つの段階で描いたもの。"
        "左上が早い段階、右下が仕上がりで、{food}の画像。実在の料理の写真ではありません。",
    },
    "en": {
        Kind.SINGLE: "A picture of something like {food}, generated by a neural network (a GAN). "
        "It is not a photograph and shows no real dish.",
        Kind.GRID_OF_NINE: "Nine pictures in a grid of three by three, each of something like {food}, "
        "generated by a neural network (a GAN). None is a photograph, and none shows a real dish.",
        Kind.GRID: "Four pictures in a grid of two by two, each of something like {food}, generated by a "
        "neural network (a GAN). None is a photograph, and none shows a real dish.",
        Kind.MORPH: "An animation in which something like {food} slowly turns into another, generated by a "
        "neural network (a GAN). It shows no real dish.",
        Kind.BEFORE_AND_AFTER: "One and the same picture as a neural network (a GAN) draws it at four stages "
        "of its training, an early one top left and the finished one bottom right: something like {food}. It "
        "is not a photograph and shows no real dish.",
    },
}


def lines(language: Language, subject: str | None) -> tuple[tuple[str, Occasion | None], ...]:
    """Every line of ours that suits the food, and the occasion that it is for; None is any."""
    kinds = [_LINES[language]] if subject else [_LINES[language], _RAMEN_LINES[language]]
    return tuple((line, when) for kind in kinds for when, said in kind.items() for line in said)


def is_in(occasion: Occasion, at: datetime) -> bool:
    """Whether a moment, in the account's own time zone, is such an occasion."""
    if occasion in _PARTS:
        begin, end = _PARTS[occasion]
        return begin <= at.hour < end if begin < end else at.hour >= begin or at.hour < end
    if occasion == "new year":
        return (at.month, at.day) == (12, 31) or (at.month == 1 and at.day <= 3)
    return occasion in (WEEKDAYS[at.weekday()], _season(at))


def _season(at: datetime) -> Season:
    """By whole months; the other way round where the time zone is in the south."""
    southern = str(getattr(at.tzinfo, "key", "")).startswith(_SOUTHERN)
    return SEASONS[(at.month // 3 - 1 + 2 * southern) % 4]


def label(language: Language, kind: Kind, subject: str | None) -> str:
    """What a picture is, in few words: generated, and of which food; None is ramen."""
    return _LABELS[language][kind].format(food=subject) if subject else _RAMEN_LABELS[language][kind]


def alt_text(language: Language, kind: Kind, subject: str | None) -> str:
    """What a picture is, for those who don't see it."""
    if language == "ja":
        food = f"{subject}のような料理" if subject else "ラーメンのような一杯"
    else:
        food = subject or "a bowl of ramen"
    return _ALT_TEXTS[language][kind].format(food=food)
