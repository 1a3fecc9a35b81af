"""Texts that try a tokenizer: every plane, entities, mojibake, emoji, odd cases and spaces."""

# ruff: noqa: RUF001

import random
from html.entities import html5

SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58A),
    (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0xE01, 0xE5B), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x13A0, 0x13FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F),
    (0x2190, 0x2BFF), (0x2C60, 0x2C7F), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xA640, 0xA7FF),
    (0xAB70, 0xABBF), (0xAC00, 0xD7A3), (0xFB00, 0xFB06), (0xFE00, 0xFE2F), (0xFF00, 0xFFEF),
    (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF), (0xE0020, 0xE007F),
]  # fmt: skip
WORDS = "a photo of the large DOG isn't it's we'LL they'RE I'D rock'n'roll 2nd 3.14 co-op U.S.A."
ODD_CASES = [
    "İstanbul", "STRASSE ẞ ß", "ΟΔΥΣΣΕΥΣ", "ΑΣ'Σ", "Σ", "ſ", "'ſ", "it'ſ", "K", "Å", "ǅ", "ﬁ", "ŉ",
    "ͅ", "ᾳ", "ΐ", "Ꭰꭰ", "ᾳ", "ı", "İİ",
]  # fmt: skip
MARKERS = [
    "<start_of_text>", "<end_of_text>", "<END_OF_TEXT>", "<ſtart_of_text>", "x<end_of_text>y",
    "<|startoftext|>", "<|endoftext|>", "</w>", "<start_of_text", "<p class='x'>", "<",
]  # fmt: skip
SPACES = (
    " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e"
    "\u2000\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
)
PEOPLE = "👨👩🧑👧👦👶"
ENTITIES = sorted(html5)


def any_character(rng: random.Random) -> str:
    while True:
        code = rng.randrange(17) << 16 | rng.randrange(1 << 16)
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)


def script(rng: random.Random) -> str:
    low, high = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8)))


def emoji(rng: random.Random) -> str:
    family = "\u200d".join(rng.choices(PEOPLE, k=rng.randint(1, 4)))
    tone = chr(rng.randint(0x1F3FB, 0x1F3FF))
    flag = "".join(chr(rng.randint(0x1F1E6, 0x1F1FF)) for _ in range(2))
    return rng.choice(
        [family, family[0] + tone, flag, "❤️", "❤️\u200d🔥", "#️⃣", "7️⃣", "🏴\U000e0067\U000e007f"]
    )


def entity(rng: random.Random) -> str:
    name = rng.choice(ENTITIES)
    number = rng.choice([rng.randrange(0x300), rng.randrange(0x120000)])
    text = rng.choice(
        [f"&{name}", f"&{name};", f"&{name.upper()}", f"&#{number};", f"&#x{number:x}", "&", "&;"]
    )
    return text.replace("&", rng.choice(["&", "&amp;", "&amp;amp;", "&#38;"]), 1)


def mojibake(rng: random.Random) -> str:
    text = rng.choice(["l’été", "schön", "“quoted”", "naïve café", "日本", "✔ ok", script(rng)])
    return text.encode().decode(rng.choice(["latin-1", "cp1252", "cp437", "mac_roman"]), "replace")


def accents(rng: random.Random) -> str:
    marks = (chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(1, 4)))
    return rng.choice("aeoAEOİΩक1-") + "".join(marks)


FRAGMENTS = [
    any_character,
    script,
    emoji,
    entity,
    mojibake,
    accents,
    lambda rng: rng.choice(WORDS.split()),
    lambda rng: " ".join(rng.choices(WORDS.split(), k=4)),
    lambda rng: "".join(chr(rng.randint(0x20, 0x7E)) for _ in range(rng.randint(1, 12))),
    lambda rng: chr(rng.choice([*range(32), *range(127, 160)])),
    lambda rng: f"\x1b[{rng.randrange(50)};{rng.randrange(9)}m",
    lambda rng: rng.choice(["'s", "'T", "’re", "'ve", "'M", "'ll", "'d", "''s", "'"]),
    lambda rng: rng.choice(ODD_CASES),
    lambda rng: rng.choice(MARKERS),
    lambda rng: rng.choice(SPACES),
    lambda rng: chr(rng.randint(0xFF01, 0xFFEE)),
]


def strange_text(rng: random.Random) -> str:
    """A few fragments run together or apart; now and then nothing, or very much."""
    roll = rng.random()
    count = 0 if roll < 0.002 else rng.randint(200, 400) if roll > 0.9998 else rng.randint(1, 5)
    glue = rng.choice(["", " ", " ", rng.choice(SPACES)])
    return glue.join(rng.choice(FRAGMENTS)(rng) for _ in range(count))
