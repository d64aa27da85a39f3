"""What the set-up knows of platforms is what their adapters need, and what it does with answers that are not well."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from adapters.discord.permissions import ALWAYS, NAMES
from adapters.slack.scopes import NEEDED, WANTED
from config.template import render_template
from gateway.setup import agent, discord, slack, telegram
from gateway.setup.draft import ChangedError, Draft
from gateway.setup.edit import Add, Put
from gateway.setup.web import Answer, UnreachableError

ROOT = Path(__file__).resolve().parents[3]


class Scripted:
    """A person who gives these answers in turn; an empty one is the Enter key."""

    def __init__(self, *answers: str) -> None:
        self._answers = iter(answers)
        self.said: list[str] = []

    def title(self, text: str) -> None:
        self.said.append(text)

    tell = good = bad = hint = title

    def ask(self, question: str, default: str = "") -> str:
        self.said.append(question)
        return next(self._answers) or default

    def secret(self, question: str) -> str:
        return self.ask(question)

    def yes(self, question: str, *, default: bool = True) -> bool:
        answer = self.ask(question)
        return answer == "y" if answer else default

    def choose(self, question: str, options: Sequence[str], default: int = 0) -> int:
        self.said += options
        return int(self.ask(question, str(default + 1))) - 1

    def choose_some(self, question: str, options: Sequence[str]) -> tuple[int, ...]:
        return tuple(int(word) - 1 for word in self.ask(question).split())

    def enter_pressed(self, seconds: float) -> bool:
        return self.ask("Enter") == "enter"


class Server:
    """Answers by the end of the address; what is not among them cannot be reached."""

    def __init__(self, **answers: Answer) -> None:
        self._answers = answers
        self.calls: list[tuple[str, Mapping[str, str]]] = []

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        self.calls.append((url, headers or {}))
        name = url.rpartition("/")[2].replace("@", "").replace(".", "_")
        if name not in self._answers:
            raise UnreachableError("it cannot be reached")
        return self._answers[name]


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return Draft.open(tmp_path / "gateway.yaml", {})


def test_slack_is_asked_for_what_its_adapter_needs() -> None:
    assert set(slack.SCOPES) == {NEEDED, *WANTED}
    text = (ROOT / "docs/slack.md").read_text()
    shown = text.partition("```yaml\n")[2].partition("```")[0]
    assert yaml.safe_load(shown) == slack.MANIFEST


def test_discord_is_asked_for_what_its_adapter_needs() -> None:
    assert set(discord.PERMISSIONS) == set(NAMES.values())
    assert discord._missing(0) == [name for name in discord.PERMISSIONS if name in {NAMES[one] for one in ALWAYS}]
    assert discord._missing(8) == [], "an administrator may do everything"
    assert str(sum(discord.PERMISSIONS.values())) in (ROOT / "docs/discord.md").read_text()


def test_a_bot_that_cannot_read_and_is_nowhere(draft: Draft) -> None:
    server = Server(
        me=Answer(200, {"username": "hermes", "id": "9", "flags": 0, "team": None, "owner": {"id": "1"}}),
        guilds=Answer(200, []),
    )
    person = Scripted("token", "")
    assert discord.set_up(draft, person, server)
    assert any("Message Content Intent is off" in line for line in person.said)
    assert any("client_id=9&scope=bot+applications.commands&permissions=309237746752" in line for line in person.said)
    assert draft.changes[("owners",)] == Add(("discord:1",))


def test_slack_without_its_second_token_is_left_out(draft: Draft) -> None:
    answer = Answer(200, {"ok": True, "user": "h", "team": "T"}, {"X-OAuth-Scopes": "chat:write"})
    person = Scripted("xoxb-1", "")
    assert not slack.set_up(draft, person, Server(auth_test=answer))
    assert draft.changes == {}
    assert any("It lacks scopes: app_mentions:read" in line for line in person.said)


def test_socket_mode_that_is_off_is_told(draft: Draft) -> None:
    off = {"ok": True, "url": "wss://x", "response_metadata": {"messages": ["[WARN] Socket Mode is not turned on."]}}
    server = Server(auth_test=Answer(200, {"ok": True}), apps_connections_open=Answer(200, off))
    person = Scripted("xoxb-1", "xapp-1", "")
    assert slack.set_up(draft, person, server)
    assert any("Socket Mode is off" in line for line in person.said)


def test_a_bot_that_another_program_has(draft: Draft) -> None:
    server = Server(
        getMe=Answer(200, {"ok": True, "result": {"username": "b", "first_name": "B", "can_join_groups": False}}),
        getWebhookInfo=Answer(200, {"ok": True, "result": {"url": ""}}),
        getUpdates=Answer(409, {"ok": False, "description": "Conflict"}),
    )
    person = Scripted("1:a", "42")
    assert telegram.set_up(draft, person, server, running=False)
    assert any("Another program" in line for line in person.said)
    assert draft.changes[("owners",)] == Add(("telegram:42",))


def test_a_running_gateway_is_not_disturbed(tmp_path: Path) -> None:
    """Its own token: nobody else may ask for the bot's messages meanwhile."""
    path = tmp_path / "gateway.yaml"
    path.write_text("platforms:\n  telegram:\n    token: 1:a\n")
    server = Server(getMe=Answer(200, {"ok": True, "result": {"username": "b"}}))
    assert telegram.set_up(Draft.open(path, {}), Scripted("y", ""), server, running=True)
    assert [url.rpartition("/")[2] for url, _ in server.calls] == ["getMe"]


def test_people_and_groups_that_wrote(draft: Draft) -> None:
    def message(chat: Mapping[str, object]) -> dict[str, object]:
        return {"message": {"from": {"id": 5, "first_name": "Eve", "is_bot": False}, "chat": chat}}

    group = {"id": -100, "type": "supergroup", "title": "Family"}
    bot = {"message": {"from": {"id": 6, "is_bot": True, "first_name": "Bot"}, "chat": group}}
    server = Server(
        getMe=Answer(200, {"ok": True, "result": {"username": "b"}}),
        getWebhookInfo=Answer(200, {"ok": True, "result": {"url": ""}}),
        getUpdates=Answer(200, {"ok": True, "result": [message({"type": "private"}), message(group), bot, "x", None]}),
    )
    assert telegram.set_up(draft, Scripted("1:a", "n", "", "y", "y"), server, running=False)
    assert ("owners",) not in draft.changes
    assert draft.changes[("platforms", "telegram", "allowed_users")] == Add(("5",))
    assert draft.changes[("platforms", "telegram", "allowed_chats")] == Add(("-100",))


def test_a_provider_and_its_key(draft: Draft) -> None:
    models = Answer(200, {"data": [{"id": f"m{n}"} for n in range(20)] + [{"id": "gpt-5-mini"}]})
    server = Server(models=models)
    person = Scripted("1", "sk-key", "nothing", "")
    assert agent.set_up(draft, person, server, installed=lambda _: True)
    assert server.calls[-1] == ("https://api.openai.com/v1/models", {"Authorization": "Bearer sk-key"})
    assert draft.changes[("agents", "assistant", "model")] == Put("openai:gpt-5-mini")
    assert draft.changes[("agent",)] == Put("assistant")
    assert any("none of that name" in line for line in person.said)


def test_an_agent_that_is_there_keeps_its_settings(tmp_path: Path) -> None:
    """Another provider is another agent: what the first one has stays as it is."""
    path = tmp_path / "gateway.yaml"
    path.write_text("agent: assistant\nagents:\n  assistant:\n    type: model\n    model: openai:a\n")
    draft = Draft.open(path, {})
    server = Server(models=Answer(200, {"data": [{"id": "claude"}]}))
    assert agent.set_up(draft, Scripted("2", "key", "1"), server, installed=lambda _: False)
    assert server.calls[-1][1] == {"x-api-key": "key", "anthropic-version": "2023-06-01"}
    assert draft.changes[("agent",)] == Put("anthropic")
    assert "model: openai:a\n" in draft.result()


def test_a_file_that_somebody_else_wrote_meanwhile_is_left_alone(draft: Draft) -> None:
    draft.put(("agent",), "echo")
    draft.path.write_text("agent: local\n")
    with pytest.raises(ChangedError):
        draft.save()
    assert draft.path.read_text() == "agent: local\n"


def test_each_older_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    for number, name in enumerate(("echo", "local", "echo")):
        path.exists() or path.write_text("agent: local\n")
        draft = Draft.open(path, {})
        draft.put(("agent",), name)
        draft.put(("timezone",), f"Etc/GMT+{number + 1}")
        draft.save()
    assert {each.name for each in tmp_path.iterdir()} == {
        "gateway.yaml",
        "gateway.yaml.bak",
        "gateway.yaml.bak2",
        "gateway.yaml.bak3",
    }


def test_what_would_be_wrong_is_told_before_it_is_written(draft: Draft) -> None:
    draft.put(("timezone",), "Nowhere/At_All")
    faults = draft.faults()
    assert any(str(draft.path) in fault and "timezone" in fault for fault in faults)
    assert list(draft.path.parent.iterdir()) == []
    assert draft.template == render_template()
