"""The client that is ready as soon as its kernel is: nothing is lost, nothing is left over."""

from __future__ import annotations

import asyncio
from queue import Empty
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager
from traitlets.config import Config

from ballbook import prompt_client
from ballbook.prompt_client import PromptClient


class Scripted(PromptClient):
    """A client whose kernel says what a list says; None is silence."""

    shell: list[Any]
    iopub: list[Any]
    alive: bool
    asked: int

    def kernel_info(self, reply: bool = False, timeout: float | None = None) -> Any:
        self.asked += 1
        return str(self.asked)

    async def get_shell_msg(self, *args: Any, **kwargs: Any) -> Any:
        return self.said(self.shell)

    async def get_iopub_msg(self, *args: Any, **kwargs: Any) -> Any:
        return self.said(self.iopub)

    async def _async_is_alive(self) -> bool:
        return self.alive

    @staticmethod
    def said(messages: list[Any]) -> Any:
        found = messages.pop(0) if messages else None
        if found is None:
            raise Empty
        parent, state = found
        content = {"execution_state": state, "protocol_version": "5.4"}
        return {"parent_header": {"msg_id": parent} if parent else {}, "content": content}


def scripted(shell: list[Any], iopub: list[Any], *, alive: bool = True) -> Scripted:
    client = Scripted()
    client.shell, client.iopub, client.alive, client.asked = shell, iopub, alive, 0
    return client


def test_it_is_ready_when_the_answer_to_the_greeting_has_ended() -> None:
    client = scripted(
        [("1", "")], [(None, "starting"), ("1", "busy"), ("1", "idle"), ("9", "of a cell")]
    )
    asyncio.run(client.wait_for_ready(timeout=5))
    assert client.asked == 1
    assert client.iopub == [("9", "of a cell")]


def test_it_asks_again_when_messages_came_before_it_was_connected() -> None:
    client = scripted([("1", ""), ("2", "")], [None, ("2", "busy"), ("1", "idle"), ("2", "idle")])
    asyncio.run(client.wait_for_ready(timeout=5))
    assert client.asked == 2
    assert client.iopub == []


def test_late_answers_to_an_earlier_greeting_are_no_answer() -> None:
    client = scripted([None, ("1", ""), ("2", "")], [("1", "idle"), ("2", "busy"), ("2", "idle")])
    asyncio.run(client.wait_for_ready(timeout=5))
    assert client.asked == 2
    assert client.shell == client.iopub == []


def test_a_dead_or_silent_kernel_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="died"):
        asyncio.run(scripted([], [], alive=False).wait_for_ready(timeout=5))
    with pytest.raises(RuntimeError, match="didn't respond"):
        asyncio.run(scripted([], []).wait_for_ready(timeout=0))


def test_a_real_kernel_has_nothing_left_to_say() -> None:
    async def greet() -> tuple[str, bool]:
        config = Config({"KernelManager": {"client_class": prompt_client.NAME}})
        manager = AsyncKernelManager(kernel_name="python3", config=config)
        await manager.start_kernel()
        client: Any = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            try:
                await client.get_iopub_msg(timeout=0.5)
                silent = False
            except Empty:
                silent = True
            return type(client).__name__, silent
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    assert asyncio.run(greet()) == ("PromptClient", True)
