"""URLs, and messages about them, without the passwords and tokens that they hold."""

import os
import re
from urllib.parse import parse_qsl, quote, unquote

CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Environment variables with secrets."""

_LOGIN = re.compile(r"(?<=//)([^/:@]*:)?.*(?=@)")
_USER_OF_A_DATABASE = re.compile(r"(postgresql|mysql|mssql)[^/]*//[^/:@?]*@[^@]*\Z")
_QUERY = re.compile(r"(?<=\?).*")
_CUTS = re.compile(r"[/?#@:]")
_WORD = re.compile(r"[A-Za-z][a-z]{,14}")
_SHORT = 8


def shown(url: str) -> str:
    """A URL without its password and its query; a name that stands alone may be a token, and goes too."""
    if login := _login(url):
        url = f"{url[: login.start()]}{login.group(1) or ''}***{url[login.end() :]}"
    return _QUERY.sub("***", url)


def censored(message: str, url: str) -> str:
    """A message about a URL, without the passwords that the URL and the environment hold.

    What may be part of a sentence stays there: `Connection ref***sed` would tell that the password is u.
    """
    for secret in sorted(_secrets(url), key=len, reverse=True):
        message = _places(secret).sub("***", message)
    return message


def _places(secret: str) -> re.Pattern[str]:
    """Where a secret is one: a word only next to what sets values off, another short one only as a whole."""
    written = re.escape(secret)
    if _WORD.fullmatch(secret):
        return re.compile(rf"(?<=[\"'`=:/@&?]){written}(?!\w)|(?<!\w){written}(?=[\"'`@])")
    return re.compile(rf"(?<!\w){written}(?!\w)" if len(secret) < _SHORT else written)


def _secrets(url: str) -> set[str]:
    written = [value.strip() for name in CREDENTIALS if (value := os.environ.get(name))]
    written += [value for _, value in parse_qsl(url.partition("?")[2])]
    if login := _login(url):
        written.append(login.group().removeprefix(login.group(1) or ""))
    written += [piece for value in written for piece in _CUTS.split(value)]  # of which a parser's error may tell one
    encoded = [form for value in written for form in (unquote(value), quote(unquote(value), safe=""))]
    return {*written, *encoded} - {""}


def _login(url: str) -> re.Match[str] | None:
    return None if _USER_OF_A_DATABASE.match(url) else _LOGIN.search(url)
