"""Icon names made readable: style words, sizes and numbers off, brands and empty names out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def split_words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_STYLE_WORDS = split_words(
    "outline outlined filled fill solid duotone twotone thin alt variant rounded regular remix "
    "duo broken linear o negative expressive stroke"
)
"""Trailing words that name a drawing's manner, in any set."""

_NUMBER_WORDS = split_words("one two three four five")
_NUMBERED_WORDS = split_words(
    "number numeric dice die clock hour level gate route roman letter replay rewind forward"
)
_SIZE_PATTERN = re.compile(r"\d+(px)?|\dx\d|x\d+|v\d")
_STOP_WORDS = split_words("a an and at by for from in of off on or the to up down with no out")

_BRANDS = split_words(
    """adobe airbnb airtable alibaba alipay android angular ansible apache asana atlassian audible
    aws azure baidu bandcamp battlenet behance bilibili bing binance bitbucket bitcoin
    blackberry blogger bluesky bootstrap btc centos chatgpt chromecast cloudflare codepen
    codesandbox coinbase css3 debian deezer deviantart digg dingtalk discord disqus django
    docker douban dribbble dropbox drupal ebay electron eslint ethereum etsy evernote expressjs
    facebook fedora figma firebase firefox flickr flutter foursquare framer freebsd gatsby gitee
    github gitkraken gitlab gitter gmail golang google goodreads gradle grafana graphql gumroad
    hackernews helm heroku html5 huawei hulu ibm imdb instagram itunes javascript jenkins jira
    joomla jquery kaggle kakaotalk kickstarter kotlin kubernetes laravel lastfm line-app
    linkedin linux litecoin lyft magento mailchimp mastercard mastodon mcdonalds microsoft
    mongodb mozilla mysql nasa neovim nestjs netflix netlify nextjs nginx nintendo nodejs npm
    nuxt nvidia onedrive openai outlook patreon paypal php pinterest playstation pnpm postgresql
    postman product-hunt producthunt pytorch qq quora raspberry reactjs reddit redis redux
    revolut roblox salesforce samsung shopify sketchapp skype slideshare snapchat soundcloud
    spotify squarespace stackoverflow stumbleupon svelte tailwind taobao telegram tencent
    terraform tiktok toyota trello tripadvisor tumblr twilio twitch twitter typescript ubuntu
    unsplash vercel viber vimeo vite vk vkontakte vscode vuejs webpack wechat weibo whatsapp
    wikipedia wix woocommerce wordpress xbox xiaomi xing yahoo yandex yelp youtube zalo zapier
    zhihu zoom-app"""
)
_AMBIGUOUS_BRANDS = split_words(
    """arch brave medium dev meta opera oracle threads vine steam stripe swift yarn periscope epic
    elastic windows safari notion messenger slack sass java python apple chrome amazon claude
    pandora prisma rollup tinder uber nike visa express intel sony tesla zoom line signal wire
    tidal origin drive"""
)
"""Marks of their own, but words with another meaning within a longer name."""

_BRAND_CATEGORY = re.compile(r"brand|logo|social", re.I)


def is_brand(name: str, categories: tuple[str, ...] = ()) -> bool:
    """True if an icon is a company's or product's mark, as far as its name or category tell.

    Example:
        >>> is_brand("github-outline"), is_brand("logo-acme"), is_brand("cat")
        (True, True, False)
    """
    words = name.split("-")
    return (
        any(word in _BRANDS for word in words)
        or "-".join(_strip_style_words(words)) in _AMBIGUOUS_BRANDS
        or words[0] in ("brand", "logo", "social")
        or words[-1] in ("brand", "logo")
        or any(_BRAND_CATEGORY.search(category) for category in categories)
    )


def declared_affixes(data: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The style prefixes and suffixes that a set declares, longest first."""
    prefixes, suffixes = (
        sorted((str(affix) for affix in data.get(key, ()) if affix), key=len, reverse=True)
        for key in ("prefixes", "suffixes")
    )
    return tuple(prefixes), tuple(suffixes)


def clean_name(name: str, prefixes: tuple[str, ...] = (), suffixes: tuple[str, ...] = ()) -> str:
    """An icon's name in plain words; empty if nothing readable is left.

    Example:
        >>> clean_name("arrow-up-2-outline"), clean_name("baseline-cake", ("baseline",))
        ('arrow up', 'cake')
        >>> clean_name("dice-5"), clean_name("x-1"), clean_name("interface-edit--pen-write-1")
        ('dice 5', '', 'interface edit')
    """
    text = re.sub(r"(?<=[a-z])(?=\d+(-|$))", "-", name.partition("--")[0])
    text = next((text.removeprefix(f"{p}-") for p in prefixes if text.startswith(f"{p}-")), text)
    text = next((text.removesuffix(f"-{s}") for s in suffixes if text.endswith(f"-{s}")), text)
    words = _strip_style_words(text.split("-"))
    return " ".join(words) if _is_meaningful(words) else ""


def _strip_style_words(words: list[str]) -> list[str]:
    keeps = words[0] in _NUMBERED_WORDS
    while len(words) > 1:
        last = words[-1]
        number = _SIZE_PATTERN.fullmatch(last) or last in _NUMBER_WORDS
        if not (last in _STYLE_WORDS or (number and not keeps)):
            break
        words = words[:-1]
    return words


def _is_meaningful(words: list[str]) -> bool:
    """True if a word of three letters or more carries a meaning; very long names do not."""
    real = [word for word in words if len(word) > 2 and word.isalpha() and word not in _STOP_WORDS]
    return bool(real) and len(words) <= 6


def appended_keywords(name: str) -> tuple[str, ...]:
    """Keywords that some sets append to a name after a double hyphen.

    Example:
        >>> appended_keywords("interface-edit--pen-write-1")
        ('pen', 'write')
    """
    return tuple(word for word in name.partition("--")[2].split("-") if word.isalpha())
