"""Each kind of fault: file, line, key, what is wrong, what to do; and that no secret is in it."""

import re
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import ConfigError, Problem, load_config
from tests.unit.config.support import Sandbox

SECRET = "s3cret-value"

# text of the file, line, key, message, advice
CASES: list[tuple[str, int, str, str, str]] = [
    # unknown keys
    ("htpp: {}\n", 1, "htpp", "unknown key", "did you mean 'http'?"),
    ("http:\n  prot: 1\n", 2, "http.prot", "unknown key", "did you mean 'port'?"),
    ("storage: {zzz: 1}\n", 1, "storage.zzz", "unknown key", "known are synchronous, jsonl_mirror, retention_days"),
    ("sessions:\n  reset:\n    at_hours: 1\n", 3, "sessions.reset.at_hours", "unknown key", "did you mean 'at_hour'?"),
    (
        "sessions: {reset_by_type: {groop: {}}}\n",
        1,
        "sessions.reset_by_type.groop",
        "unknown key",
        "did you mean 'group'?",
    ),
    (
        "platforms:\n  telegarm: {token: x}\n",
        2,
        "platforms.telegarm",
        "unknown platform",
        "did you mean 'telegram'?",
    ),
    (
        "sessions: {reset_by_platform: {slak: {}}}\n",
        1,
        "sessions.reset_by_platform.slak",
        "unknown key",
        "did you mean 'slack'?",
    ),
    (
        "platforms: {telegram: {token: x, allow_users: []}}\n",
        1,
        "platforms.telegram.allow_users",
        "unknown key",
        "did you mean 'allowed_users'?",
    ),
    (
        "platforms: {slack: {bot_token: x, app_token: y, token: z}}\n",
        1,
        "platforms.slack.token",
        "has no meaning here",
        "write bot_token (xoxb-…) and app_token (xapp-…)",
    ),
    ("http:\n  prot:\n", 2, "http.prot", "unknown key", "did you mean 'port'?"),
    ("http: {prot: ${NOT_SET}}\n", 1, "http.prot", "unknown key", "did you mean 'port'?"),
    # values
    ("busy: quue\n", 1, "busy", "is none of the choices", "did you mean 'queue'? Write one of queue, steer, interrupt"),
    ("busy: [queue]\n", 1, "busy", "is none of the choices", "write one of queue, steer, interrupt"),
    ("timezone: Europe/Berln\n", 1, "timezone", "unknown time zone", "did you mean 'Europe/Berlin'?"),
    ("timezone: x\n", 1, "timezone", "unknown time zone", "write a name such as Europe/Berlin or UTC"),
    ("http: {port: many}\n", 1, "http.port", "is not a whole number", "write a whole number, 0 to 65535"),
    ("http: {port: 1.5}\n", 1, "http.port", "is not a whole number", "write a whole number, 0 to 65535"),
    ("http: {port: yes}\n", 1, "http.port", "is not a whole number", "write a whole number, 0 to 65535"),
    ("http: {port: 70000}\n", 1, "http.port", "is too large", "write a whole number, 0 to 65535"),
    ("turns: {attempts: 0}\n", 1, "turns.attempts", "is too small", "write a whole number, at least 1"),
    ("drain_seconds: soon\n", 1, "drain_seconds", "is not a number", "write a number, at least 0"),
    ("drain_seconds: .nan\n", 1, "drain_seconds", "is not a finite number", "write a number, at least 0"),
    ("delivery: {expire_hours: 1e12}\n", 1, "delivery.expire_hours", "is too large", "write at most 1000000000"),
    ("memory: {quiet_minutes: 1e15}\n", 1, "memory.quiet_minutes", "is too large", "write at most 1000000000"),
    ("redact_pii: maybe\n", 1, "redact_pii", "is not true or false", "write true or false"),
    ("http: {host: ''}\n", 1, "http.host", "is empty", "write text"),
    ("http: {host: [a]}\n", 1, "http.host", "is not text", "write text"),
    ("allowed_users: alice\n", 1, "allowed_users", "is not a list", "write a list: [first, second]"),
    ("allowed_users:\n  - a\n  - {b: c}\n", 3, "allowed_users[1]", "is not text", "write an id"),
    (
        "media: 5\n",
        1,
        "media",
        "is not a section",
        "write its keys below it, indented: roots",
    ),
    ("platforms: [slack]\n", 1, "platforms", "is not a section", "write its keys below it, indented: local, "),
    ("sessions: {reset: idle}\n", 1, "sessions.reset", "is not a section", "write its keys below it, indented: mode, "),
    (
        "platforms: {irc: {api_base_url: irc.example}}\n",
        1,
        "platforms.irc.api_base_url",
        "is not an address of this kind",
        "write https://… or http://…",
    ),
    (
        "platforms: {irc: {api_base_url: 'https://u:s3cret-value@h'}}\n",
        1,
        "platforms.irc.api_base_url",
        "holds a user or password",
        "write the address without them",
    ),
    (
        "agents: {a: {type: model, model: 'x:y', base_url: 'https://h/v1?key=s3cret-value'}}\n",
        1,
        "agents.a.base_url",
        "holds a query (?…) or a fragment (#…)",
        "write the address without them",
    ),
    # agents
    ("agents:\n  a: {}\n", 2, "agents.a.type", "is missing", "write type: kind of agent: echo, local, model, "),
    ("agents:\n  a: {type: modle}\n", 2, "agents.a.type", "unknown agent type", "did you mean 'model'?"),
    ("agents:\n  a: {type: model}\n", 2, "agents.a.model", "is missing", "write model: provider and model, as in "),
    (
        "agents:\n  a:\n    type: model\n    model: gpt-5\n",
        4,
        "agents.a.model",
        "does not have the right form",
        "write model: provider and model, as in openai:gpt-5-mini",
    ),
    (
        "agents:\n  a b: {type: echo}\n",
        2,
        "agents.a b",
        "is not a name that can be used",
        "use letters, digits, - and _",
    ),
    (
        "agents: {assistant: {type: echo}}\nagent: asistant\n",
        2,
        "agent",
        "no agent has this name",
        "did you mean 'assistant'?",
    ),
    ("agents:\n  a: 5\n", 2, "agents.a", "is not a section", "write its keys below it, indented"),
    # credentials and references
    (
        "platforms:\n  telegram:\n    allowed_users: []\n",
        2,
        "platforms.telegram.token",
        "is missing, and telegram cannot be reached without it",
        "write token or token_file, or set TELEGRAM_BOT_TOKEN; or write enabled: false",
    ),
    (
        "platforms: {slack: {mode: http, bot_token: b}}\n",
        1,
        "platforms.slack.signing_secret",
        "is missing, and slack cannot be reached without it",
        "write signing_secret or signing_secret_file, or set SLACK_SIGNING_SECRET; or write enabled: false",
    ),
    (
        "platforms:\n  discord:\n    token: ${NOT_SET}\n",
        3,
        "platforms.discord.token",
        "the environment variable NOT_SET is not set",
        "set it, or write enabled: false",
    ),
    (
        "http:\n  host: ${NOT_SET}\n",
        2,
        "http.host",
        "the environment variable NOT_SET is not set",
        "set it, or write a default: ${NOT_SET:-…}",
    ),
    (
        "allowed_users: [a, '${NOT_SET}']\n",
        1,
        "allowed_users[1]",
        "the environment variable NOT_SET is not set",
        "set it, or write a default: ${NOT_SET:-…}",
    ),
    ("busy: ${A B}\n", 1, "busy", "has a '${' that is not a reference", "write ${NAME} or ${NAME:-default}, or $${"),
    ("busy: ${A\n", 1, "busy", "has a '${' that is not a reference", "write ${NAME} or ${NAME:-default}, or $${"),
    (
        "platforms: {telegram: {token_file: none.txt}}\n",
        1,
        "platforms.telegram.token_file",
        "the file none.txt does not exist",
        "write the path of a file that holds the secret and nothing else",
    ),
    (
        "http: {api_key: s3cret-value, api_key_file: x}\n",
        1,
        "http.api_key",
        "stands beside api_key_file",
        "keep one of",
    ),
    # YAML
    ("a: b: c\n", 1, "", "a ':' stands where no key can be (column 5)", "put text with ': ' in it in quotes"),
    ("http:\n\tport: 1\n", 2, "", "a tab stands in the indentation (column 1)", "indent with spaces"),
    ("busy: 'queue\n\n", 1, "", "a quote is opened and not closed (column 7)", "close it"),
    ("busy: @x\n", 1, "", "a value starts with a character that has a meaning (column 7)", "put the value in quotes"),
    ("http: {port: 1\n", 1, "", "a bracket or brace is not closed, or a comma is missing (column 7)", "close it, or"),
    ("http:\n  port: 1\n host: x\n", 3, "", "the indentation does not fit (column 2)", "indent keys of one section"),
    ("busy: *x\n", 1, "", "a '*' refers to a name that no '&' defines (column 7)", "put text that starts with *"),
    ("busy: queue\n---\nbusy: steer\n", 2, "", "a second document begins (column 1)", "keep one, without a line ---"),
    ("busy: a\x07b\n", 1, "", "a character stands here that no text file has (column 8)", "remove it, or save"),
    ("busy: !!python/name:os.system x\n", 1, "busy", "has a type (!…) that means nothing here", "remove the type"),
    ("? [a]\n: 1\n", 1, "", "a key is not text", "write key: value"),
    ("owners: [12345]\n", 1, "owners[0]", "is not one person on one platform", "write platform:id, as in telegram:1"),
    ("just text\n", 1, "", "the file holds no keys", "write lines like timezone: Europe/Berlin"),
    ("- a\n", 1, "", "the file holds no keys", "write lines like timezone: Europe/Berlin"),
    ("busy: queue\nhttp: {}\nbusy: steer\n", 3, "busy", "is written twice, first on line 1", "keep one of them"),
    ("http:\n  port: 1\n  port: 1\n", 3, "http.port", "is written twice, first on line 2", "keep one of them"),
    ("http: {<<: 5}\n", 1, "http", "'<<' does not name a section", "write <<: *name"),
]


@pytest.mark.parametrize(("text", "line", "key", "message", "advice"), CASES)
def test_problem_in_the_file(sandbox: Sandbox, text: str, line: int, key: str, message: str, advice: str) -> None:
    problems = sandbox.problems(text)
    # What a first fault brings about may follow it: of a mistyped token, that the token is missing.
    matching = [problem for problem in problems if problem.key == key]
    assert len(matching) == 1, problems
    problem = matching[0]
    assert (problem.file, problem.line) == (str(sandbox.file), line)
    assert problem.message == message
    assert problem.advice.startswith(advice)
    assert problem.place == f"{sandbox.file}:{line}"
    assert str(problem).startswith(f"{sandbox.file}:{line}: ")
    assert all(SECRET not in str(other) for other in problems)


def test_all_problems_of_a_file_are_reported_in_order(sandbox: Sandbox) -> None:
    problems = sandbox.problems(
        "agent: nobody\nbusy: x\nhttp: {port: x}\nagents: {a: {type: x}}\nplatforms:\n"
        "  telegram:\n  slak:\nlogging: {level: ${NOT_SET}}\nlogging: {levle: info}\n"
    )
    assert [(problem.line, problem.key) for problem in problems] == [
        (1, "agent"),
        (2, "busy"),
        (3, "http.port"),
        (4, "agents.a.type"),
        (6, "platforms.telegram.token"),
        (7, "platforms.slak"),
        (9, "logging"),
        (9, "logging.levle"),
    ]


@pytest.mark.parametrize(
    ("environ", "key", "message", "advice"),
    [
        ({"HERMES_GATEWAY__HTP__PORT": "1"}, "htp", "unknown key", "did you mean 'http'?"),
        ({"HERMES_GATEWAY__HTTP__PROT": "1"}, "http.prot", "unknown key", "did you mean 'port'?"),
        ({"HERMES_GATEWAY__HTTP__PORT__X": "1"}, "http.port.x", "unknown key", "remove it"),
        ({"HERMES_GATEWAY__PLATFORMS__TELEGARM__TOKEN": SECRET}, "platforms.telegarm", "unknown key", "did you mean"),
        ({"HERMES_GATEWAY__HTTP__PORT": SECRET}, "http.port", "is not a whole number", "write a whole number"),
        ({"HERMES_GATEWAY__HTTP__PORT": "["}, "http.port", "a bracket or brace is not closed", "close it"),
        ({"HERMES_GATEWAY__HTTP": "1"}, "http", "is not a section", "write its keys below it"),
        (
            {"DISCORD_BOT_TOKEN": SECRET, "DISCORD_GATEWAY_URL": SECRET},
            "platforms.discord.gateway_url",
            "is not an",
            "wr",
        ),
        ({"SLACK_BOT_TOKEN": SECRET}, "platforms.slack.app_token", "is missing, and slack", "write app_token or"),
    ],
)
def test_problem_in_the_environment(
    sandbox: Sandbox, environ: dict[str, str], key: str, message: str, advice: str
) -> None:
    problem = sandbox.problem("", environ)
    assert problem.key == key
    assert problem.message.startswith(message)
    assert problem.advice.startswith(advice)
    assert (problem.file, problem.line) == (None, None)
    assert problem.place == f"environment {list(environ)[-1]}"
    assert SECRET not in str(problem)


def test_problem_on_the_command_line(sandbox: Sandbox) -> None:
    problem = sandbox.problem("", overrides={"logging.levl": "info"})
    assert str(problem) == "command line: logging.levl: unknown key; did you mean 'level'?"


# --- files that cannot be read


def test_named_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yaml", environ={})
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "none.yaml"), None)
    assert "no such file" in problem.message
    assert "config init" in problem.advice


def test_file_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, environ={})


def test_path_that_no_file_can_have() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config("a\0b", environ={})


def test_file_that_is_not_utf8(sandbox: Sandbox) -> None:
    sandbox.file.write_bytes(b"busy: queue\nhttp: \xff\n")
    with pytest.raises(ConfigError) as caught:
        load_config(sandbox.file, environ={})
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (2, "is not UTF-8 text")


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "is not UTF-8"), (b"x" * 100_000, "is larger than")],
)
def test_secret_file_that_holds_no_secret(sandbox: Sandbox, content: bytes, fault: str) -> None:
    (sandbox.folder / "token").write_bytes(content)
    assert fault in sandbox.problem("platforms: {telegram: {token_file: token}}\n").message


def test_secret_file_that_is_a_folder(sandbox: Sandbox) -> None:
    assert "cannot be read" in sandbox.problem(f"http: {{api_key_file: {sandbox.folder}}}\n").message


# --- documents that want to do harm


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "[" * 5000,
        "a:\n" + "".join("  " * depth + "a:\n" for depth in range(1, 200)),
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 'x'}]\n" for n in range(12)),
    ],
    ids=["list in itself", "section in itself", "open brackets", "deep", "many aliases"],
)
def test_document_that_would_not_end(sandbox: Sandbox, text: str) -> None:
    assert re.search("nested too deep|too large", str(sandbox.problem(text)))


def test_long_and_strange_keys_stay_on_one_line(sandbox: Sandbox) -> None:
    problem = sandbox.problem('"' + "x" * 500 + '": 1\n')
    assert len(str(problem)) < 400 + len(str(sandbox.file))
    problem = sandbox.problem('"a\\nb\\e[31m": 1\n')
    assert str(problem).isprintable()


# --- secrets


def test_secrets_are_in_no_problem_and_no_traceback(sandbox: Sandbox) -> None:
    text = f"""\
http: {{api_key: {SECRET}, port: x}}
agents:
  a: {{type: model, model: x, api_key: {SECRET}}}
  b: {{type: none, api_key: {SECRET}}}
platforms:
  telegram: {{token: {SECRET}, api_base_url: 'https://u:{SECRET}@h', home_channel: {SECRET}}}
  telegarm: {{token: {SECRET}}}
  slack: {{token: {SECRET}, bot_token: [{SECRET}], mode: {SECRET}, signing_secret: {{a: {SECRET}}}}}
  discord: {SECRET}
allowed_users: {SECRET}
busy: {SECRET}
"""
    sandbox.file.write_text(text)
    environ = {"HERMES_GATEWAY__HTTP__HOST": f"a{SECRET}", "DISCORD_BOT_TOKEN": SECRET, "SLACK_APP_TOKEN": SECRET}
    with pytest.raises(ConfigError) as caught:
        load_config(sandbox.file, environ=environ, overrides={"http.x": SECRET})
    assert len(caught.value.problems) > 8
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in shown


# --- any text


KEYS = st.sampled_from(
    [
        "http",
        "port",
        "agents",
        "type",
        "model",
        "platforms",
        "telegram",
        "slack",
        "token",
        "token_file",
        "agent",
        "sessions",
        "reset",
        "mode",
        "reset_by_type",
        "allowed_users",
        "enabled",
        "local",
        "timezone",
        "<<",
        "1",
        "x",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["${A}", "${A:-b}", "${", "$$", "echo", "model", "none", "2024-13-45", "0x_", "1:2:3", "=", "<<"]),
)
TREES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), below, max_size=4),
    max_leaves=12,
)
YAML_TEXT = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="ab:-?&*!|>'\"%@`{}[],#$ \n\t~<=0.x", max_size=60),
    TREES.map(repr),
    TREES.map(lambda tree: str(tree).replace("'", "")),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=YAML_TEXT, environ=st.dictionaries(st.sampled_from(["A", "HERMES_GATEWAY__HTTP"]), st.text(max_size=10)))
def test_any_text_loads_or_is_a_config_error(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    problems: tuple[Problem, ...] | None = None
    try:
        load_config(file, environ=environ)
    except ConfigError as error:
        problems = error.problems
    if problems is not None:
        assert problems
        assert all(problem.message and problem.advice and "\n" not in str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("text", "environ", "place"),
    [
        ("", {"HERMES_GATEWAY_API_KEY": "s3cret\udcffvalue"}, "environment HERMES_GATEWAY_API_KEY"),
        ("http: {api_key: '${KEY}'}\n", {"KEY": "s3cret\udcffvalue"}, "gateway.yaml:1"),
        ('http: {api_key: "s3cret\\udc80value"}\n', {}, "gateway.yaml:1"),
    ],
)
def test_a_secret_that_is_no_text_is_named_without_its_value(
    sandbox: Sandbox, text: str, environ: dict[str, str], place: str
) -> None:
    problem = sandbox.problem(text, environ)
    assert (problem.key, problem.message) == ("http.api_key", "is not UTF-8 text")
    assert problem.place.endswith(place)
    assert "s3cret" not in str(problem)


def test_a_secret_that_is_no_text_is_no_matter_where_its_platform_is_off(sandbox: Sandbox) -> None:
    sandbox.load("platforms: {telegram: {enabled: false}}\n", {"TELEGRAM_BOT_TOKEN": "s3cret\udcffvalue"})
