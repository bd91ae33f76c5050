"""Stream URLs: parsed, printed, and never with a secret in sight.

    redis://[user:password@]host[:port][/db]/stream[,stream]       rediss:// is the same with TLS
    redis+cluster://host:7000,host:7001/stream
    redis+sentinel://host:26379,host:26379[/db]/stream?service_name=mymaster
    kafka://[user:password@]host:port,host:port/topic      kafka+ssl:// is the same with TLS
    file://./path/name.ss/key
    stdio:///key      memory://lab/topic      demo://trades?rate=100&late=0.1

Without topics a URL names a broker. On Redis a first segment of digits with another after it is
the database: `redis://h/0/trades`, and `redis://h/0/` is that database as a broker, while
`redis://h/5` is a stream named "5".

Names may hold anything if percent-encoded (`quote_topic` does it): "/" is %2F, "," is %2C, "?"
is %3F, "%" is %25, "$" is %24. A file's path keeps its case, spaces and commas; it ends at the
last segment that ends in ".ss", otherwise at the last "/".

`$NAME` and `${NAME}` are read from the environment, each once and after the URL has been cut
into its parts, so that a password may hold any character. The host part is the exception: a
variable there may hold several hosts with their ports. In a password only `$NAME` as a whole
is a variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from streamlab import plugins
from streamlab.errors import StreamlabError, UnknownNameError, UrlError
from streamlab.veil import HIDDEN, Veiled, sounds_secret

# Schemes that can be read even where nothing is installed that opens them.
_SYNTAX_ONLY = ("stdio",)
_DEFAULT_PORTS = {
    **dict.fromkeys(("redis", "rediss", "redis+cluster", "rediss+cluster"), 6379),
    **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), 26379),
    **dict.fromkeys(("kafka", "kafka+ssl"), 9092),
}
_WITH_DATABASE = {"redis", "rediss", "redis+sentinel", "rediss+sentinel"}
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:]*)(?::(\d{1,5}))?")
_PLAIN = "-._~:!'()*+="
_FORMS = {
    "redis": "redis://localhost:6379/trades",
    "rediss": "rediss://localhost:6379/trades",
    "redis+cluster": "redis+cluster://localhost:7000,localhost:7001/trades",
    "redis+sentinel": "redis+sentinel://localhost:26379/trades?service_name=mymaster",
    "kafka": "kafka://localhost:9092/trades",
    "kafka+ssl": "kafka+ssl://localhost:9092/trades",
    "file": "file://./path/name.ss/trades",
    "stdio": "stdio:///trades",
    "memory": "memory://lab/trades",
    "demo": "demo://trades?rate=100",
}


class Secret:
    """Text that shows as *** wherever it is printed."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        """Hide `text`."""
        self.__text = text

    def reveal(self) -> str:
        """The text itself, for the one who logs in with it; even so its `repr` says nothing."""
        return Veiled(self.__text)

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.__text

    def __hash__(self) -> int:
        return hash(("Secret", self.__text))


class Params(Mapping[str, str]):
    """The query of a URL; values whose name sounds secret are not printed."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        """Copy `values`."""
        self._values = {
            name: Veiled(value) if sounds_secret(name) else value
            for name, value in (values or {}).items()
        }

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self.shown())

    def shown(self) -> dict[str, str]:
        """The values as they may be printed."""
        return {n: HIDDEN if sounds_secret(n) else v for n, v in self.items()}


_NO_PARAMS = Params()


@dataclass(frozen=True, slots=True, repr=False)
class StreamUrl:
    """A URL in its parts. `str` and `repr` hide secrets and can be parsed again but for them.

    Attributes:
        scheme: in lower case; names the backend.
        hosts: (host, port or None), at least one unless the scheme has none.
        user, password: None if not given.
        path: the file of a file URL, the database of a Redis URL, otherwise "".
        topics: none for a broker; the kind for a demo.
        params: the query.
    """

    scheme: str
    hosts: tuple[tuple[str, int | None], ...] = ()
    user: str | None = None
    password: Secret | None = None
    path: str = ""
    topics: tuple[str, ...] = ()
    params: Params = _NO_PARAMS

    @property
    def broker(self) -> StreamUrl:
        """The same without topics."""
        return replace(self, topics=())

    @property
    def place(self) -> str:
        """The broker as shown to people: no user, no password, no query."""
        if self.scheme == "demo":
            return "demo://" + ",".join(self.topics)
        if self.scheme == "file":
            return f"file://{_quote_path(self.path)}"
        port = _DEFAULT_PORTS.get(self.scheme)
        hosts = ",".join(_host_text(host, own or port) for host, own in self.hosts)
        return f"{self.scheme}://{hosts}" + (f"/{self.path}/" if self.path else "")

    def __str__(self) -> str:
        topics = ",".join(quote_topic(name) for name in self.topics)
        query = "&".join(
            f"{quote(name, safe='')}={value if value == HIDDEN else quote(value, safe=_PLAIN + ',/')}"
            for name, value in self.params.shown().items()
        )
        return (
            f"{self.scheme}://{self._login()}{self._middle()}{topics}"
            f"{'?' if query else ''}{query}"
        )

    def __repr__(self) -> str:
        return f"StreamUrl({str(self)!r})"

    def _login(self) -> str:
        if self.user is None and self.password is None:
            return ""
        user = quote(self.user or "", safe="")
        return f"{user}{'' if self.password is None else ':' + HIDDEN}@"

    def _middle(self) -> str:
        """What stands between login and topics."""
        if self.scheme == "demo":
            return ""
        if self.scheme == "file":
            return _quote_path(self.path) + "/"
        hosts = ",".join(_host_text(host, port) for host, port in self.hosts)
        return f"{hosts}/" + (f"{self.path}/" if self.path else "")


def quote_topic(name: str) -> str:
    """A topic's name as it has to be written in a URL."""
    quoted = quote(name, safe=_PLAIN)
    # A key that ends in ".ss" would be taken for the file.
    return quoted[:-3] + "%2Ess" if quoted.endswith(".ss") else quoted


def sealed(url: object) -> Secret:
    """The text of a URL, for a caller whose traceback must not print it.

    Raises:
        UrlError: it is no text.
    """
    if not isinstance(url, str):
        raise UrlError(
            f"a stream URL is text like {_FORMS['redis']!r}, not {type(url).__name__}."
        )
    return Secret(url)


def parse(text: str | Secret, *, env: Mapping[str, str] | None = None) -> StreamUrl:
    """Cut a URL into its parts and read its variables.

    Args:
        text: the URL, or what `sealed` made of it.
        env: where `$NAME` is looked up; the process's environment by default.

    Raises:
        UrlError: what is wrong and the right form; never the user's or a variable's text
            where a secret could stand.
        UnknownNameError: there is no such backend.
    """
    hidden = text if isinstance(text, Secret) else sealed(text)
    del text
    try:
        return _parsed(hidden.reveal(), _Lookup(os.environ if env is None else env))
    except StreamlabError as error:
        # The frames below hold the URL in pieces: no traceback shall print them.
        failure = error.with_traceback(None)
    failure.__context__ = None
    raise failure


def _parsed(text: str, look: _Lookup) -> StreamUrl:
    scheme, rest = _scheme(text)
    body, _, query = rest.partition("?")
    if scheme == "demo":
        topics = _topics(body.strip("/"), look)
        return StreamUrl("demo", topics=topics, params=_params(query, scheme, look))
    if scheme == "file":
        path, topics = _file(body, look)
        params = _params(query, scheme, look)
        return StreamUrl("file", path=path, topics=topics, params=params)
    authority, _, tail = body.partition("/")
    login, at, hosts_text = authority.rpartition("@")
    if "@" in tail or "@" in query:
        # Most likely the rest of a password with a / or ? in it: not to be taken for a topic.
        raise UrlError(
            f"{scheme}://…: after the host an @ is written %40. If a password holds / or ?, "
            "write them %2F and %3F, or take it from the environment: "
            f"{scheme}://user:$PASSWORD@host/topic."
        )
    user, password = _read_login(login, look) if at else (None, None)
    hosts = _hosts(look.fill(hosts_text), scheme)
    path, topics_text = _path_and_topics(tail, scheme, look)
    topics, params = _topics(topics_text, look), _params(query, scheme, look)
    return StreamUrl(scheme, hosts, user, password, path, topics, params)


class _Lookup:
    """Reads variables and percent signs out of one part of a URL."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def fill(self, raw: str) -> str:
        """`raw` decoded, its variables put in as they are."""
        return self._each(raw, unquote)

    def fill_only(self, raw: str) -> str:
        """`raw` with its variables, but percent signs as they stand."""
        return self._each(raw, str)

    def _each(self, raw: str, literal: Callable[[str], str]) -> str:
        out, at = [], 0
        for match in _VARIABLE.finditer(raw):
            out += [literal(raw[at : match.start()]), self._value(match[1] or match[2])]
            at = match.end()
        return "".join([*out, literal(raw[at:])])

    def _value(self, name: str) -> str:
        if name in self._env:
            return self._env[name]
        raise UrlError(
            f"the URL names ${name}, and the environment has no variable {name}. "
            f'Set it (%env {name}=… in a notebook), or write a plain "$" as %24.'
        )


def _scheme(text: str) -> tuple[str, str]:
    scheme, found, rest = text.strip().partition("://")
    if not found or not _SCHEME.fullmatch(scheme):
        raise UrlError(
            "a stream URL begins with its scheme: "
            + ", ".join(_FORMS[name] for name in ("redis", "kafka", "file", "demo"))
            + "."
        )
    scheme = scheme.lower()
    if scheme in plugins.OURS["backends"] or scheme in _SYNTAX_ONLY:
        return scheme, rest
    known = plugins.names("backends")  # looks through all installed packages: slow
    if scheme not in known:
        raise UnknownNameError.among("backend", scheme, known)
    return scheme, rest


def _params(query: str, scheme: str, look: _Lookup) -> Params:
    found: dict[str, str] = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if not part:
            continue
        if not equals or not name:
            raise UrlError(
                f"{scheme}://…: what follows the ? is written name=value&name=value."
            )
        name = unquote(name)
        if name in found:
            raise UrlError(f"{scheme}://…: {name!r} is given twice after the ?.")
        found[name] = look.fill(value)
    return Params(found)


def _topics(text: str, look: _Lookup) -> tuple[str, ...]:
    return tuple(look.fill(name) for name in text.split(",") if name)


def _file(body: str, look: _Lookup) -> tuple[str, tuple[str, ...]]:
    segments = body.split("/")
    ends = [i for i, raw in enumerate(segments) if look.fill_only(raw).endswith(".ss")]
    # More than one segment behind it: not the file but a folder with such a name.
    cut = ends[-1] + 1 if ends and ends[-1] >= len(segments) - 2 else len(segments) - 1
    path = "/".join(look.fill(raw) for raw in segments[: max(cut, 1)])
    if not path:
        raise UrlError(f"file://…: no file is named. Write {_FORMS['file']}.")
    return path, _topics("".join(segments[max(cut, 1) :]), look)


def _read_login(text: str, look: _Lookup) -> tuple[str | None, Secret | None]:
    user, colon, password = text.partition(":")
    # Only a password that is a variable as a whole is read from the environment: "pa$word" is
    # a password, and a message about a variable $word would give half of it away.
    whole = _VARIABLE.fullmatch(password)
    secret = look.fill(password) if whole else unquote(password)
    return look.fill(user) or None, Secret(secret) if colon else None


def _hosts(text: str, scheme: str) -> tuple[tuple[str, int | None], ...]:
    found: list[tuple[str, int | None]] = []
    for item in filter(None, text.split(",")):
        match = _HOST.fullmatch(item)
        if match is None or not match[1] or (match[2] and int(match[2]) > 65535):
            raise UrlError(
                f"{scheme}://…: a host is written name or name:port, the port a number "
                f"up to 65535. Write {_form(scheme)}."
            )
        found.append((match[1], int(match[2]) if match[2] else None))
    if not found and scheme != "stdio":
        raise UrlError(f"{scheme}://…: no host is named. Write {_form(scheme)}.")
    return tuple(found)


def _path_and_topics(tail: str, scheme: str, look: _Lookup) -> tuple[str, str]:
    first, slash, rest = tail.partition("/")
    if not slash:
        return "", tail
    number = look.fill(first) if scheme in _WITH_DATABASE and "/" not in rest else ""
    if number.isascii() and number.isdigit():
        return number, rest
    if not rest:
        return "", first
    raise UrlError(
        f'{scheme}://…: a "/" inside a name is written %2F. Write {_form(scheme)}.'
    )


def _form(scheme: str) -> str:
    return _FORMS.get(scheme, f"{scheme}://host:port/topic")


def _host_text(host: str, port: int | None) -> str:
    return host if port is None else f"{host}:{port}"


def _quote_path(path: str) -> str:
    return re.sub(r"[%?$\x00-\x1f]", lambda match: quote(match[0], safe=""), path)
