from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab import uri
from streamlab.errors import UnknownNameError, UrlError
from streamlab.uri import Params, Secret, StreamUrl, parse, quote_topic

anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
hosts = st.lists(
    st.tuples(
        st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True),
        st.none() | st.integers(0, 65535),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
topics = st.lists(anything, max_size=3).map(tuple)
params = st.dictionaries(anything, anything, max_size=3).map(Params)
segments = st.lists(anything.filter(lambda t: "/" not in t), min_size=1, max_size=4)
many = settings(deadline=None, max_examples=200)


@st.composite
def urls(draw: st.DrawFn) -> StreamUrl:
    scheme = draw(
        st.sampled_from(["redis", "rediss", "kafka", "memory", "file", "demo"])
    )
    if scheme == "demo":
        return StreamUrl(scheme, topics=draw(topics), params=draw(params))
    if scheme == "file":
        path = "/".join(draw(segments)) + draw(st.sampled_from(["", ".ss", ".SS"]))
        return StreamUrl(scheme, path=path, topics=draw(topics), params=draw(params))
    return StreamUrl(
        scheme,
        draw(hosts),
        draw(st.none() | anything),
        draw(st.none() | anything.map(Secret)),
        draw(st.sampled_from(["", "0", "15"])) if scheme.startswith("redis") else "",
        draw(topics),
        draw(params),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://localhost/", StreamUrl("redis", (("localhost", None),))),
        ("redis://localhost", StreamUrl("redis", (("localhost", None),))),
        (
            "redis://localhost/a,b",
            StreamUrl("redis", (("localhost", None),), topics=("a", "b")),
        ),
        ("redis://h/0/x", StreamUrl("redis", (("h", None),), path="0", topics=("x",))),
        ("redis://h/0/", StreamUrl("redis", (("h", None),), path="0")),
        ("redis://h/5", StreamUrl("redis", (("h", None),), topics=("5",))),
        (
            "redis+sentinel://a,b:1/2/t?service_name=m",
            StreamUrl(
                "redis+sentinel",
                (("a", None), ("b", 1)),
                path="2",
                topics=("t",),
                params=Params({"service_name": "m"}),
            ),
        ),
        (
            "redis+cluster://a:7000,b/t",
            StreamUrl("redis+cluster", (("a", 7000), ("b", None)), topics=("t",)),
        ),
        (
            "kafka://node-a:1234,node-b:1234/a,b",
            StreamUrl("kafka", (("node-a", 1234), ("node-b", 1234)), topics=("a", "b")),
        ),
        ("kafka://h:1/t/", StreamUrl("kafka", (("h", 1),), topics=("t",))),
        ("redis://[::1]:6380/t", StreamUrl("redis", (("[::1]", 6380),), topics=("t",))),
        ("stdio:///a,b", StreamUrl("stdio", topics=("a", "b"))),
        ("stdio:///", StreamUrl("stdio")),
        ("memory://lab/t", StreamUrl("memory", (("lab", None),), topics=("t",))),
        (
            "demo://trades?rate=100&late=0.1",
            StreamUrl(
                "demo",
                topics=("trades",),
                params=Params({"rate": "100", "late": "0.1"}),
            ),
        ),
        (
            "file://./path/to/hi/a,b",
            StreamUrl("file", path="./path/to/hi", topics=("a", "b")),
        ),
        ("file://./path/to/hi/", StreamUrl("file", path="./path/to/hi")),
        ("file:///path/to/hi.ss", StreamUrl("file", path="/path/to/hi.ss")),
        ("file://UPPER.ss/a", StreamUrl("file", path="UPPER.ss", topics=("a",))),
        (
            "file://./my day, 2.ss/a,b",
            StreamUrl("file", path="./my day, 2.ss", topics=("a", "b")),
        ),
        (
            "file://../up/../x.ss/a",
            StreamUrl("file", path="../up/../x.ss", topics=("a",)),
        ),
        (
            "file://./old.ss/today.ss/a",
            StreamUrl("file", path="./old.ss/today.ss", topics=("a",)),
        ),
        (
            "file://x.ss/SEA_STREAMER_WILDCARD",
            StreamUrl("file", path="x.ss", topics=("SEA_STREAMER_WILDCARD",)),
        ),
    ],
)
def test_a_url_has_these_parts(text: str, expected: StreamUrl) -> None:
    assert parse(text) == expected


@many
@given(urls())
def test_what_is_printed_can_be_parsed_again_but_for_its_secrets(
    url: StreamUrl,
) -> None:
    again = parse(str(url), env={})

    hidden = None if url.password is None else Secret("***")
    assert again == StreamUrl(
        url.scheme,
        url.hosts,
        url.user,
        hidden,
        url.path,
        url.topics,
        Params(url.params.shown()),
    )
    assert str(again) == str(url)


@many
@given(
    st.text("ab:/?#@,=$%& []é7", min_size=1, max_size=14),
    st.sampled_from([None, "$PW"]),
)
def test_a_password_is_never_printed_however_it_was_written(
    noise: str, written: str | None
) -> None:
    secret = f"S3cret{noise}S3cret"

    try:
        url = parse(f"redis://me:{written or secret}@host:1/t", env={"PW": secret})
    except UrlError as error:
        shown = [str(error), repr(error), str(error.__cause__), str(error.__context__)]
    else:
        shown = [str(url), repr(url), f"{url}", url.place, str(url.broker)]
        shown += [f"{url.password}", repr(url.password), f"{url.password:>20}"]
        if written:
            assert url.password is not None
            assert url.password.reveal() == secret
            assert url.topics == ("t",)

    assert not any("S3cret" in text for text in shown)


def test_a_password_from_the_environment_is_put_in_once_and_as_it_is() -> None:
    url = parse(
        "redis://$WHO:${PW}@$AT/t", env={"WHO": "me", "PW": "a@b/%2F$WHO?", "AT": "h:7"}
    )

    assert url.user == "me"
    assert url.password == Secret("a@b/%2F$WHO?")
    assert url.hosts == (("h", 7),)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(UrlError, match=r"no variable PASSWORD"):
        parse("redis://me:$PASSWORD@h/t", env={"OTHER": "x"})


def test_a_dollar_sign_can_be_written() -> None:
    assert parse("redis://h/%24HOME", env={}).topics == ("$HOME",)


def test_a_secret_parameter_is_not_printed() -> None:
    url = parse("kafka://h/t?sasl.password=S3cret&rate=1&api_token=S3cret")

    assert "S3cret" not in str(url) + repr(url) + repr(url.params)
    assert url.params["sasl.password"] == "S3cret"
    assert "rate=1" in str(url)


@pytest.mark.parametrize(
    "name", ["a/b", "a,b", "a?b", "50%", "a b", "é", "$x", "a:b", "x.ss"]
)
@pytest.mark.parametrize("broker", ["redis://h/", "file://x.ss/", "memory://lab/"])
def test_any_name_can_be_written(name: str, broker: str) -> None:
    assert parse(broker + quote_topic(name), env={}).topics == (name,)


def test_an_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"no backend 'reids'\. Nearest: 'redis'"
    ):
        parse("reids://h/t")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trades", r"begins with its scheme: redis://localhost:6379/trades"),
        ("redis:///t", r"no host is named. Write redis://localhost:6379/trades"),
        ("redis://h:port/t", r"the port a number up to 65535"),
        ("redis://h:70000/t", r"the port a number up to 65535"),
        ("redis://h/a/b", r'a "/" inside a name is written %2F'),
        ("kafka://h/0/b", r'a "/" inside a name is written %2F'),
        ("redis://u:a/b@h/t", r"%2F and %3F, or take it from the environment"),
        ("demo://trades?fast", r"name=value"),
        ("demo://trades?rate=1&rate=2", r"'rate' is given twice"),
        ("file:///key", r"no file is named. Write file://./path/name.ss/trades"),
    ],
)
def test_a_url_that_cannot_be_read_says_the_right_form(text: str, message: str) -> None:
    with pytest.raises(UrlError, match=message):
        parse(text)


def test_something_else_than_text_is_refused() -> None:
    with pytest.raises(UrlError, match="not int"):
        parse(7)  # type: ignore[arg-type]


def test_the_place_is_for_everybody_to_see() -> None:
    assert parse("redis://me:pw@h/2/t?a=b").place == "redis://h:6379/2/"
    assert parse("kafka://a:1,b/t").place == "kafka://a:1,b:9092"
    assert parse("file://./x y.ss/t").place == "file://./x y.ss"
    assert parse("memory://lab/t").place == "memory://lab"
    assert parse("demo://trades?rate=1").place == "demo://trades"


def test_the_broker_is_the_same_without_topics() -> None:
    url = parse("redis://me:pw@h/2/t?a=b")

    assert str(url.broker) == "redis://me:***@h/2/?a=b"
    assert url.broker.password == Secret("pw")


def test_the_environment_of_the_process_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAMLAB_TEST_TOPIC", "orders")

    assert uri.parse("redis://h/$STREAMLAB_TEST_TOPIC").topics == ("orders",)
