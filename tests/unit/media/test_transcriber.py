"""What is said in a file is written down by the server that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.media.transcriber import Transcriber
from gateway.ports import MediaError
from tests.unit.media.support import VOICE, settings, stored


class Ears:
    """A server of transcriptions, that notes what it is asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.base_url = ""

    async def handle(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        self.asked.append(
            {
                "key": request.headers.get("Authorization"),
                "model": form["model"],
                "language": form.get("language"),
                "name": file.filename,
                "type": file.content_type,
                "data": file.file.read(),
            }
        )
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return web.json_response({"error": {"message": "sk-secret is wrong"}}, status=answer)
        return web.json_response({"text": answer})


@asynccontextmanager
async def serving(ears: Ears) -> AsyncIterator[Ears]:
    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", ears.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ears.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield ears
    finally:
        await runner.cleanup()


async def test_the_file_is_sent_and_the_text_comes_back(tmp_path: Path) -> None:
    async with serving(Ears(" Buy milk. \n")) as ears:
        config = {"model": "whisper-1", "base_url": ears.base_url, "api_key": "k", "language": "de"}
        transcriber = Transcriber(settings(transcriber=config))
        assert transcriber.enabled
        assert await transcriber.transcribe(stored(tmp_path / "v.ogg", VOICE)) == "Buy milk."
    assert ears.asked == [
        {
            "key": "Bearer k",
            "model": "whisper-1",
            "language": "de",
            "name": "v.ogg",
            "type": "audio/ogg",
            "data": VOICE,
        }
    ]


async def test_a_fault_is_told_without_what_the_server_said(tmp_path: Path) -> None:
    async with serving(Ears(401)) as ears:
        transcriber = Transcriber(settings(transcriber={"model": "whisper-1", "base_url": ears.base_url}))
        with pytest.raises(MediaError, match=r"^the server of media.transcriber failed \(HTTP 401\)$"):
            await transcriber.transcribe(stored(tmp_path / "v.ogg", VOICE))


async def test_a_server_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.media.transcriber.TRIES_AGAIN", 0)
    transcriber = Transcriber(settings(transcriber={"model": "whisper-1", "base_url": "http://127.0.0.1:9/v1"}))
    with pytest.raises(MediaError, match="APIConnectionError"):
        await transcriber.transcribe(stored(tmp_path / "v.ogg", VOICE))


def test_without_a_model_there_is_none() -> None:
    assert not Transcriber(settings()).enabled
