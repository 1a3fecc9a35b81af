"""Icon names made readable: style words, sizes and numbers off, brands and empty names out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STYLE_WORDS = frozenset(
    "outline outlined filled fill solid duotone twotone thin alt variant rounded regular remix "
    "duo broken linear o negative expressive stroke".split()
)
"""Trailing words that name a drawing's manner, in any set."""

_NUMBER_WORDS = frozenset("one two three four five".split())
_KEEPS_NUMBER = frozenset(
    "number numeric dice die clock hour level gate route roman letter replay rewind forward".split()
)
_SIZE = re.compile(r"\d+(px)?|\dx\d|x\d+|v\d")
_SMALL = frozenset("a an and at by for from in of off on or the to up down with no out".split())

_BRANDS = frozenset(
    """adobe airbnb airtable alibaba alipay amazon android angular ansible apache apple arch asana
    atlassian audible aws azure baidu bandcamp battlenet behance bilibili bing binance bitbucket
    bitcoin blackberry blogger bluesky bootstrap brave btc centos chatgpt chromecast chrome claude
    cloudflare codepen codesandbox coinbase css3 debian deezer dev deviantart digg dingtalk discord
    disqus django docker douban dribbble dropbox drupal ebay elastic electron epic eslint ethereum
    etsy evernote expressjs facebook fedora figma firebase firefox flickr flutter foursquare framer
    freebsd gatsby gitee github gitkraken gitlab gitter gmail golang google goodreads gradle grafana
    graphql gumroad hackernews helm heroku html5 huawei hulu ibm imdb instagram intel itunes java
    javascript jenkins jira joomla jquery kaggle kakaotalk kickstarter kotlin kubernetes laravel
    lastfm line-app linkedin linux litecoin lyft magento mailchimp mastercard mastodon mcdonalds
    medium messenger meta microsoft mongodb mozilla mysql nasa neovim nestjs netflix netlify nextjs
    nginx nike nintendo nodejs notion npm nuxt nvidia onedrive openai opera oracle outlook pandora
    patreon paypal periscope php pinterest playstation pnpm postgresql postman prisma product-hunt
    producthunt pytorch python qq quora raspberry reactjs reddit redis redux revolut roblox rollup
    safari salesforce samsung sass shopify sketchapp skype slack slideshare snapchat sony
    soundcloud spotify squarespace stackoverflow steam stripe stumbleupon svelte swift tailwind
    taobao telegram tencent terraform tesla threads tiktok tinder toyota trello tripadvisor tumblr
    twilio twitch twitter typescript uber ubuntu unsplash vercel viber vimeo vine visa vite vk
    vkontakte vscode vuejs webpack wechat weibo whatsapp wikipedia windows wix woocommerce
    wordpress xbox xiaomi xing yahoo yandex yarn yelp youtube zalo zapier zhihu zoom-app""".split()
)

_BRAND_CATEGORY = re.compile(r"brand|logo|social", re.I)


def is_brand(name: str, categories: tuple[str, ...] = ()) -> bool:
    """Whether an icon is a company's or product's mark, as far as its name or category tell.

    Example:
        >>> is_brand("github-outline"), is_brand("logo-acme"), is_brand("cat")
        (True, True, False)
    """
    words = name.split("-")
    return (
        any(word in _BRANDS for word in words)
        or words[0] in ("brand", "logo", "social")
        or words[-1] in ("brand", "logo")
        or any(_BRAND_CATEGORY.search(category) for category in categories)
    )


def affixes(data: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The style prefixes and suffixes that a set declares, longest first."""
    prefixes = tuple(sorted(filter(None, data.get("prefixes", {})), key=len, reverse=True))
    suffixes = tuple(sorted(filter(None, data.get("suffixes", {})), key=len, reverse=True))
    return prefixes, suffixes


def clean_name(name: str, prefixes: tuple[str, ...] = (), suffixes: tuple[str, ...] = ()) -> str:
    """An icon's name in plain words; empty if nothing readable is left.

    Example:
        >>> clean_name("arrow-up-2-outline"), clean_name("baseline-cake", ("baseline",))
        ('arrow up', 'cake')
        >>> clean_name("dice-5"), clean_name("x-1"), clean_name("interface-edit--pen-write-1")
        ('dice 5', '', 'interface edit')
    """
    text = re.sub(r"(?<=[a-z])(?=\d+(-|$))", "-", name.partition("--")[0])
    for prefix in prefixes:
        if text.startswith(prefix + "-"):
            text = text.removeprefix(prefix + "-")
            break
    for suffix in suffixes:
        if text.endswith("-" + suffix):
            text = text.removesuffix("-" + suffix)
            break
    words = _without_style(text.split("-"))
    return " ".join(words) if _says_something(words) else ""


def _without_style(words: list[str]) -> list[str]:
    keeps = words[0] in _KEEPS_NUMBER
    while len(words) > 1:
        last = words[-1]
        number = _SIZE.fullmatch(last) or last in _NUMBER_WORDS
        if not (last in _STYLE_WORDS or (number and not keeps)):
            break
        words = words[:-1]
    return words


def _says_something(words: list[str]) -> bool:
    """Whether a word of three letters or more carries a meaning; very long names do not."""
    real = [word for word in words if len(word) > 2 and word.isalpha() and word not in _SMALL]
    return bool(real) and len(words) <= 6


def more_words(name: str) -> tuple[str, ...]:
    """Keywords that some sets append to a name after a double hyphen.

    Example:
        >>> more_words("interface-edit--pen-write-1")
        ('pen', 'write')
    """
    return tuple(word for word in name.partition("--")[2].split("-") if word.isalpha())
