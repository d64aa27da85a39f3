"""The doctor: what it looks at, what it finds, and that it shows no secret and changes nothing."""

import os
import socket
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from config import GatewayConfig, Home, LiveConfig
from gateway.access import People
from gateway.api.keys import Keys
from gateway.clock import CallableClock, SystemClock
from gateway.doctor import Finding, Level, examine
from gateway.doctor.machine import packages
from gateway.lock import hold
from gateway.session import SessionSource, SessionStore
from gateway.storage import checks
from gateway.storage.database import Database

TELEGRAM = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home").ensure()
    for name in ("TELEGRAM_BOT_TOKEN", "DISCORD_BOT_TOKEN", "SLACK_BOT_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(home.path))
    return home


def configure(home: Home, text: str, mode: int = 0o600) -> None:
    home.config_file.write_text(f"http: {{enabled: false}}\nagent: echo\n{text}")
    home.config_file.chmod(mode)


async def database(home: Home) -> None:
    async with Database.open(home.database) as opened:
        store = SessionStore(opened, GatewayConfig())
        entry = await store.get_or_create_session(SessionSource.local_cli())
        await store.append_turn(entry.session_id, [{"role": "user", "content": "x"}])


def bad(findings: list[Finding], level: Level = Level.ERROR) -> list[str]:
    return [f"{finding.subject}: {finding.what}" for finding in findings if finding.level is level]


async def test_a_sound_installation_has_no_error(home: Home) -> None:
    configure(home, "")
    await database(home)
    before = {path: path.stat().st_mtime_ns for path in home.path.iterdir() if path.is_file()}
    findings = await examine(home)
    assert bad(findings) == []
    assert {"configuration", "agent echo", "http", "process", "home", "database", "disk", "clock"} == {
        finding.subject for finding in findings
    }
    assert {path: path.stat().st_mtime_ns for path in before} == before


async def test_an_empty_home_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_GATEWAY__HTTP__PORT", "0")
    home = Home(tmp_path / "none")
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(home.path))
    findings = await examine(home)
    assert bad(findings) == []
    assert not home.path.exists()


async def test_a_home_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.write_text("a file")
    assert f"home: {home.path} is no folder" in bad(await examine(home))
    below = Home(home.path / "below")
    assert f"home: {below.path} cannot be reached (Not a directory)" in bad(await examine(below))


async def test_a_home_that_only_another_user_can_open_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, "")
    stat = Path.stat

    def refused(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if home.path in self.parents and self != home.config_file:
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refused)
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != home.path)
    told = bad(await examine(home))
    assert told == [f"home: {home.path} cannot be looked into by this user: nothing in it was examined"]


async def test_every_finding_that_is_not_well_says_what_to_do(home: Home) -> None:
    configure(home, f"platforms: {{telegram: {{token: '{TELEGRAM}x!', allowed_users: ['*']}}}}\n", 0o644)
    home.database.write_bytes(b"no database at all" * 100)
    home.socket.touch()
    findings = await examine(home)
    assert len(bad(findings)) >= 4
    assert [finding for finding in findings if finding.level is not Level.OK and not finding.advice] == []


async def test_each_fault_of_the_configuration_is_an_error(home: Home) -> None:
    home.config_file.write_text("http: {prot: 1}\nbusy: loud\n")
    findings = await examine(home)
    assert [what for what in bad(findings) if what.startswith("configuration")] == [
        f"configuration: {home.config_file}:1: http.prot: unknown key",
        f"configuration: {home.config_file}:2: busy: is none of the choices",
    ]
    assert "database" in {finding.subject for finding in findings}, "the rest is looked at all the same"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("telegram: {token: abc}", "platforms.telegram.token"),
        ("discord: {token: abc}", "platforms.discord.token"),
        ("slack: {bot_token: xoxp-123456789, app_token: xapp-1-234567}", "platforms.slack.bot_token"),
        ("slack: {bot_token: xoxb-123456789, app_token: xoxb-234567}", "platforms.slack.app_token"),
        ("slack: {bot_token: xoxb-123456789, signing_secret: z, mode: http}", "platforms.slack.signing_secret"),
    ],
)
async def test_a_credential_of_the_wrong_form_is_named_and_not_shown(home: Home, section: str, key: str) -> None:
    configure(home, f"platforms: {{{section}}}\n")
    findings = [finding for finding in await examine(home) if finding.subject == "credentials"]
    assert [finding.what for finding in findings if finding.level is Level.ERROR] == [
        f"{key} does not have the form of one"
    ]


async def test_no_finding_shows_a_secret(home: Home) -> None:
    configure(home, f"platforms: {{telegram: {{token: '{TELEGRAM}'}}}}\nallowed_users: ['*']\n", 0o644)
    findings = await examine(home)
    assert TELEGRAM not in str([finding.to_dict() for finding in findings])
    assert any("holds secrets, and others can open it (mode 0644)" in what for what in bad(findings))
    assert any("ANYBODY" in what for what in bad(findings, Level.WARNING))


async def test_a_platform_that_lets_nobody_in_is_told(home: Home) -> None:
    configure(home, f"platforms: {{telegram: {{token: '{TELEGRAM}', dm_policy: allowlist}}}}\n")
    assert any("no list lets anybody in on telegram" in what for what in bad(await examine(home), Level.WARNING))
    configure(home, f"platforms: {{telegram: {{token: '{TELEGRAM}'}}}}\n")
    findings = await examine(home)
    assert any("gets a code for you to approve" in what for what in bad(findings, Level.OK))
    assert any("is an owner" in what for what in bad(findings, Level.WARNING))


async def test_a_name_among_ids_is_told(home: Home) -> None:
    people = "owners: ['telegram:@ann', 'telegram:1', 'discord:x']\n"
    lists = "allowed_users: ['@ben', 123456789, -1001, '*']"
    configure(home, f"{people}platforms: {{telegram: {{token: '{TELEGRAM}', {lists}}}}}\n")
    told = [what for what in bad(await examine(home), Level.WARNING) if "is no id" in what]
    assert told == [
        "access: platforms.telegram.allowed_users has '@ben', which is no id of telegram",
        "access: owners has '@ann', which is no id of telegram",
    ]


@pytest.mark.parametrize("key", ["dm_policy", "group_policy"])
async def test_an_open_policy_is_told_loudly(home: Home, key: str) -> None:
    configure(home, f"platforms: {{telegram: {{token: '{TELEGRAM}', {key}: open}}}}\nowners: ['telegram:1']\n")
    (told,) = [what for what in bad(await examine(home), Level.WARNING) if "ANYBODY" in what]
    assert f"platforms.telegram.{key} is open" in told


async def test_a_listener_that_others_reach_is_told(home: Home) -> None:
    """Also without a key in the file: keys can be made, and platforms call it."""
    home.config_file.write_text("http: {host: 0.0.0.0, port: 0}\nagent: echo\n")
    home.config_file.chmod(0o600)
    assert any("can be reached from other machines" in what for what in bad(await examine(home), Level.WARNING))


async def test_a_listener_that_others_reach_needs_a_key(home: Home) -> None:
    home.config_file.write_text("http: {host: 0.0.0.0, port: 0}\nagent: echo\n")
    home.config_file.chmod(0o600)
    told = []
    async with Database.open(home.database) as opened:
        keys = Keys(opened, LiveConfig(GatewayConfig()), SystemClock(), People())
        for change in (None, keys.create("mine", ["chat"]), keys.revoke("mine")):
            if change is not None:
                await change
            told.append(any("does not start" in what for what in bad(await examine(home))))
    assert told == [True, False, True]


async def test_a_file_of_a_secret_that_others_can_read_is_told(home: Home) -> None:
    secret = home.path / "telegram.token"
    secret.write_text(TELEGRAM)
    secret.chmod(0o644)
    configure(home, f"platforms: {{telegram: {{token_file: '{secret}'}}}}\n")
    assert any(f"others can read {secret} (mode 0644)" in what for what in bad(await examine(home), Level.WARNING))
    secret.chmod(0o600)
    assert not any("others can read" in what for what in bad(await examine(home), Level.WARNING))


async def test_open_folders_and_files_are_errors(home: Home) -> None:
    configure(home, "")
    await database(home)
    home.path.chmod(0o755)
    home.database.chmod(0o644)
    assert [what for what in bad(await examine(home)) if what.startswith("home")] == [
        f"home: others can open {home.path} (mode 0755)",
        f"home: others can open {home.database} (mode 0644)",
    ]


async def test_a_command_of_an_advice_can_be_typed_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "Ann's home").ensure()
    monkeypatch.setenv("HERMES_GATEWAY_HOME", str(home.path))
    configure(home, "", 0o600)
    home.path.chmod(0o755)
    (advice,) = [finding.advice for finding in await examine(home) if finding.subject == "home"]
    subprocess.run(advice.removeprefix("close it: "), shell=True, check=True)
    assert home.path.stat().st_mode & 0o777 == 0o700


async def test_a_damaged_database_is_found(home: Home) -> None:
    configure(home, "")
    await database(home)
    data = bytearray(home.database.read_bytes())
    data[4096 * 3 : 4096 * 6] = b"\xa5" * 4096 * 3
    home.database.write_bytes(data)
    assert any("is damaged" in what for what in bad(await examine(home)))


async def test_a_database_that_another_program_holds_is_not_called_damaged(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(home, "")
    await database(home)
    monkeypatch.setattr(checks, "SQLITE_BUSY_SECONDS", 0.02)
    with closing(sqlite3.connect(home.database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO meta VALUES ('a', 'b')")
        (finding,) = [finding for finding in await examine(home) if finding.subject == "database"]
    assert (finding.level, "locked" in finding.what) == (Level.ERROR, True)
    assert "end the program" in finding.advice
    assert "restore" not in finding.advice


async def test_a_database_that_cannot_be_opened_is_a_matter_of_the_disk(home: Home) -> None:
    configure(home, "")
    home.database.mkdir(mode=0o700)
    (finding,) = [finding for finding in await examine(home) if finding.subject == "database"]
    assert (finding.level, "restore" in finding.advice, "disk" in finding.advice) == (Level.ERROR, False, True)


async def test_a_database_that_is_missing_and_is_not_made_anew_is_an_error(home: Home) -> None:
    configure(home, "")
    await database(home)
    aside = home.path / "gateway.db.damaged-20260101T000000Z"
    home.database.rename(aside)
    (missing, kept) = [finding for finding in await examine(home) if finding.subject == "database"]
    assert (missing.level, kept.level) == (Level.ERROR, Level.WARNING)
    assert str(aside) in missing.what
    assert "hermes-gateway restore" in missing.advice
    async with Database.open(home.database) as opened:
        assert opened.state.mode == "spool"


async def test_a_newer_database_is_found(home: Home) -> None:
    configure(home, "")
    await database(home)
    connection = sqlite3.connect(home.database)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert any("newer version (schema 999" in what for what in bad(await examine(home)))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (lambda: datetime.now(UTC) - timedelta(days=2), "the database has a row of"),
        (lambda: datetime(1970, 1, 2, tzinfo=UTC), "it says 1970-01-02"),
    ],
)
async def test_a_clock_that_is_wrong_is_found(home: Home, now: "object", words: str) -> None:
    configure(home, "")
    await database(home)
    assert callable(now)
    assert any(words in what for what in bad(await examine(home, clock=CallableClock(now))))


@pytest.mark.parametrize(("free", "level"), [(50, Level.ERROR), (500, Level.WARNING), (5000, Level.OK)])
async def test_a_full_disk_is_found(home: Home, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    configure(home, "")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=free * 1024 * 1024))
    (finding,) = [finding for finding in await examine(home) if finding.subject == "disk"]
    assert finding.level is level
    assert f"{free} MiB free" in finding.what or free == 5000


async def test_a_port_in_use_is_found(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        home.config_file.write_text(f"agent: echo\nhttp: {{port: {port}}}\n")
        (finding,) = [finding for finding in await examine(home) if finding.subject == "http"]
    assert finding.level is Level.ERROR
    assert "http.port" in finding.advice


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("webhooks: {deploys: {secret: 0123456789abcdef0123456789abcdef, prompt: x}}", "webhooks.deploys"),
        ("platforms: {slack: {bot_token: xoxb-1, signing_secret: z, mode: http}}", "platforms.slack.mode: http"),
        ("platforms: {api_server: {enabled: true}}", "platforms.api_server"),
    ],
)
async def test_what_comes_over_http_needs_its_listener(home: Home, text: str, named: str) -> None:
    configure(home, text)
    (finding,) = [finding for finding in await examine(home) if finding.subject == "http"]
    assert finding.level is Level.ERROR
    assert named in finding.what
    assert "http.enabled: true" in finding.advice


async def test_a_key_needs_the_listener(home: Home) -> None:
    home.config_file.write_text("http: {enabled: false, api_key: sk-0123456789abcdef}\nagent: echo\n")
    (finding,) = [finding for finding in await examine(home) if finding.subject == "http"]
    assert finding.level is Level.ERROR
    assert "http.api_key" in finding.what


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        ("m: {type: model, model: 'openai:gpt-5-mini'}", "agent m:"),
        ("m: {type: model, model: 'nonesuch:x'}", "agent m:"),
    ],
)
async def test_an_agent_that_cannot_be_started_is_found(home: Home, agents: str, words: str) -> None:
    home.config_file.write_text(f"http: {{enabled: false}}\nagent: m\nagents: {{{agents}}}\n")
    assert [what for what in bad(await examine(home)) if what.startswith(words)]


async def test_a_socket_left_behind_and_a_silent_holder_are_told(home: Home) -> None:
    configure(home, "")
    home.socket.touch()
    home.socket.chmod(0o600)
    assert any("left behind" in what for what in bad(await examine(home), Level.WARNING))
    with hold(home.lock, "hermes-gateway run"):
        (what,) = [what for what in bad(await examine(home), Level.WARNING) if what.startswith("process")]
    assert "hermes-gateway run (pid" in what


async def test_a_gateway_that_hangs_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, "")
    monkeypatch.setattr("gateway.status.STATUS_TIMEOUT_SECONDS", 0.1)
    with hold(home.lock, "hermes-gateway run"), socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home.socket))
        silent.listen()
        (what,) = [what for what in bad(await examine(home)) if what.startswith("process")]
    assert "does not answer" in what
    assert f"hermes-gateway run (pid {os.getpid()}) holds the home" in what
    assert "hermes-gateway doctor" not in what


async def test_a_disk_without_room_for_a_copy_of_the_database_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(home, "")
    with home.database.open("wb") as stream:
        stream.truncate(8 * 1024**3)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=5 * 1024**3))
    monkeypatch.setattr("gateway.doctor.database", lambda _home, _now: [])
    assert any("less than the database's 8 GiB" in what for what in bad(await examine(home), Level.WARNING))
    home.database.unlink()  # what a test leaves is searched for secrets, holes and all


@pytest.mark.parametrize("kind", ["module", "package"])
@pytest.mark.parametrize("name", ["config", "gateway", "adapters"])
def test_another_package_of_our_name_is_found(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / f"{name}.py" if kind == "module" else tmp_path / name / "__init__.py"
    place.parent.mkdir(exist_ok=True)
    place.touch()
    ours = str(Path(__file__).resolve().parents[2])
    (finding,) = packages([ours, str(tmp_path)])
    assert finding.level is Level.WARNING
    assert str(place) in finding.what
    assert "venv" in finding.advice


def test_a_folder_that_only_has_our_name_is_none(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    ours = str(Path(__file__).resolve().parents[2])
    assert list(packages([ours, str(tmp_path), str(tmp_path / "none"), ""])) == []


async def test_a_damaged_database_that_was_set_aside_is_told(home: Home) -> None:
    configure(home, "")
    await database(home)
    aside = home.path / "gateway.db.damaged-20261121T063000Z"
    aside.touch(0o600)
    (told,) = [finding for finding in await examine(home) if "set aside" in finding.what]
    assert (told.level, str(aside) in told.advice) == (Level.WARNING, True)
    home.database.unlink()
    (home.path / "gateway.db.salvaging").touch(0o600)
    assert any(
        "rescue of a damaged database was interrupted" in what for what in bad(await examine(home), Level.WARNING)
    )


async def test_a_staged_restore_is_told(home: Home) -> None:
    configure(home, "")
    staged = home.path / "restore-staged"
    staged.mkdir(0o700)
    assert any("waits to take effect" in what for what in bad(await examine(home), Level.WARNING))
    (staged / "applying.json").touch()
    assert any("interrupted half-way" in what for what in bad(await examine(home)))


async def test_a_spool_is_told(home: Home) -> None:
    configure(home, "")
    (home.sessions_dir / "spool-20261121T063000000000Z-0123.jsonl").touch(0o600)
    (told,) = [finding for finding in await examine(home) if finding.subject == "storage"]
    assert (told.level, "delete nothing" in told.advice) == (Level.WARNING, True)


@pytest.mark.parametrize("kind", ["rejected", "damaged"])
async def test_what_no_merge_has_taken_is_told(home: Home, kind: str) -> None:
    configure(home, "")
    path = home.sessions_dir / f"{kind}-spool-20261121T063000000000Z-0123.jsonl"
    path.touch(0o600)
    (told,) = [finding for finding in await examine(home) if finding.subject == "storage"]
    assert (told.level, str(path) in told.what, str(path) in told.advice) == (Level.WARNING, True, True)


async def test_open_copies_and_folders_inside_are_errors(home: Home) -> None:
    configure(home, "")
    await database(home)
    copy = home.path / "gateway.db.schema1.bak"
    copy.touch()
    copy.chmod(0o640)
    home.media_dir.chmod(0o750)
    assert [what for what in bad(await examine(home)) if what.startswith("home")] == [
        f"home: others can open {home.media_dir} (mode 0750)",
        f"home: others can open {copy} (mode 0640)",
    ]


async def test_what_a_restore_replaced_is_told(home: Home) -> None:
    configure(home, "")
    (home.path / "replaced-20261121T063000Z").mkdir(0o700)
    assert any("what a restore replaced" in finding.what for finding in await examine(home))
