"""Files through the whole gateway: a picture from a platform to a model's server, and a file back."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from config import GatewayConfig, Home, Platform, PlatformConfig
from gateway.daemon import Daemon
from gateway.ports import AdapterHost, AdapterState, Capabilities, Delivery, InboundMessage, MediaKind
from tests.support.fakes import ALICE
from tests.support.scripted_openai import Reply, ScriptedOpenAI, ToolCall
from tests.unit.media.support import PDF, PNG, FilePlatform, attached


class Chat(FilePlatform):
    """A platform on which one message comes in."""

    def __init__(self, host: AdapterHost, message: InboundMessage) -> None:
        super().__init__(Capabilities(media=True), a=PNG)
        self.host, self.message = host, message
        self.got = asyncio.Event()

    async def run(self) -> None:
        self.host.set_state(AdapterState.CONNECTED)
        await self.host.accept(self.message)
        await asyncio.Event().wait()

    async def send(self, delivery: Delivery) -> str:
        message_id = await super().send(delivery)
        if len(self.screen) == 2:
            self.got.set()
        return message_id


@asynccontextmanager
async def running(config: GatewayConfig, home: Home, message: InboundMessage) -> AsyncIterator[Chat]:
    made: list[Chat] = []

    def make(_config: PlatformConfig, host: AdapterHost) -> Chat:
        made.append(Chat(host, message))
        return made[0]

    daemon = Daemon(config, home, adapters={Platform.TELEGRAM: make})
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set))
    try:
        await asyncio.wait([task, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield made[0]
    finally:
        daemon.stop()
        await task


async def test_a_picture_goes_to_the_model_and_a_file_comes_back(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ensure()
    report = home.media_dir / "report.pdf"
    report.write_bytes(PDF)
    call = ToolCall("send_file", {"path": str(report), "caption": "All of it"})
    message = InboundMessage(
        ALICE, "m1", "what is this? send the report", attachments=(attached("a", MediaKind.IMAGE, "red.png"),)
    )
    async with ScriptedOpenAI([Reply(calls=[call]), "It is red."]) as server:
        config = GatewayConfig.model_validate(
            {
                "agent": "eyes",
                "agents": {"eyes": {"type": "model", "model": "openai:scripted", "base_url": server.base_url}},
                "platforms": {"telegram": {"token": "1:x", "allowed_users": ["alice"]}},
                "http": {"enabled": False},
            }
        )
        async with running(config, home, message) as chat, asyncio.timeout(30):
            await chat.got.wait()
    first, second = server.requests
    (asked,) = [row["content"] for row in first["messages"] if row["role"] == "user"]
    assert asked[0]["text"].startswith('what is this? send the report\n\n[Image "red.png" (PNG')
    assert asked[1]["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert "send_file" in [tool["function"]["name"] for tool in first["tools"]]
    (result,) = [row["content"] for row in second["messages"] if row["role"] == "tool"]
    assert result.startswith("report.pdf is on its way")
    shown = {delivery.kind: delivery for delivery in chat.screen.values()}
    assert set(shown) == {"reply", "file"}
    assert shown["reply"].text == "It is red."
    file = shown["file"].content
    assert (file.kind, file.name, file.caption) == (MediaKind.DOCUMENT, "report.pdf", "All of it")
    assert Path(file.path).read_bytes() == PDF
