import pytest

from lifline.system.secrets import censored, shown


@pytest.mark.parametrize(
    ("url", "as_shown"),
    [
        ("http://lifline:se%20cret@host:5000", "http://lifline:***@host:5000"),
        ("http://secret-token@host", "http://***@host"),
        ("http://lifline:se@c/r?et@host", "http://lifline:***@host"),
        ("http://se/cret@host", "http://***@host"),
        ("foo://lifline:secret@host", "foo://lifline:***@host"),
        ("https://host/mnist?token=secret", "https://host/mnist?***"),
        ("postgresql://host/mlflow?user=lifline&password=secret", "postgresql://host/mlflow?***"),
        ("postgresql://lifline:secret@host/db", "postgresql://lifline:***@host/db"),
        ("postgresql+psycopg://lifline@host/db", "postgresql+psycopg://lifline@host/db"),
        ("postgresql://se/cret@host/db", "postgresql://***@host/db"),
        ("postgresql://lifline@host/db?password=se@cret", "postgresql://***@cret"),
        ("http://host:5000", "http://host:5000"),
        ("/a/folder", "/a/folder"),
    ],
)
def test_no_password_is_shown(url, as_shown):
    assert shown(url) == as_shown


@pytest.mark.parametrize(
    "url", ["http://lifline:se%40cret@host", "http://se%40cret@host", "postgresql://host/mlflow?password=se%40cret"]
)
def test_no_password_is_left_in_a_message(monkeypatch, url):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a token\n")
    message = censored(f"{url} refuses se@cret and its header 'Bearer a token\\n'", url)
    assert message == f"{url.replace('se%40cret', '***')} refuses *** and its header 'Bearer ***\\n'"


@pytest.mark.parametrize("secret", ["u", "us", "used", "user", "password", "Connection", "refused", "8", "127", "x7"])
def test_a_password_that_is_like_a_part_of_a_message_is_not_told_by_what_is_missing(secret):
    url = f"postgresql://lifline:{secret}@host/db"
    message = "Connection refused: password authentication failed for the user of port 18127, max7"
    assert censored(message, url) == message


@pytest.mark.parametrize("secret", ["u", "user", "password", "x7", "s3cret", "Correct-Horse", "qzkfhwpdmrtvxlbnsgcj"])
@pytest.mark.parametrize(
    "message",
    [
        "no postgresql://lifline:{}@host/db",
        "invalid port: '{}@host'",
        'invalid port: "{}"',
        "no connection with host=db password={} dbname=db",
        "https://host/mnist?token={}&x=1",
        "could not translate `{}`",
    ],
)
def test_a_password_is_censored_where_it_is_a_value_however_short(secret, message):
    url = f"http://lifline:{secret}@host"
    assert censored(message.format(secret), url) == message.format("***")


@pytest.mark.parametrize("secret", ["x7", "s3cret", "Correct-Horse", "qzkfhwpdmrtvxlbnsgcj"])
def test_a_password_that_is_no_word_is_censored_in_a_sentence_too(secret):
    assert censored(f"the header is Bearer {secret} and more", f"http://{secret}@host") == (
        "the header is Bearer *** and more"
    )


def test_a_long_password_is_censored_inside_of_other_text():
    assert censored("a\\nCorrect-Horse", "http://lifline:Correct-Horse@host") == "a\\n***"


def test_the_name_of_a_databases_user_is_no_secret():
    assert censored('role "team" does not exist', "postgresql://team@host/db") == 'role "team" does not exist'
