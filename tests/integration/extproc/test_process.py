"""The worker as a process: it starts quickly and small, says what is wrong, drains on SIGTERM."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from headgate.extproc.wire import PATH
from support.ports import free_port
from support.processes import cpu_seconds, resident_bytes
from support.processor import ProcessorProcess
from support.waiting import BUSY_SECONDS, wait_until

Call = grpc.aio.StreamStreamCall[bytes, bytes]
FACTS = '{"name":"default/b/route/r/rule/0/ref/0","dialect":"anthropic-messages"}'
CHAT = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}'


def open_call(channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> Call:
    return cast("Call", channel.stream_stream(PATH)(metadata=metadata))


def chat_messages() -> Sequence[pb.ProcessingRequest]:
    headers = pb.ProcessingRequest()
    headers.request_headers.headers.headers.add(key=":path", raw_value=b"/v1/chat/completions")
    headers.protocol_config.request_body_mode = ProcessingMode.BUFFERED
    return headers, pb.ProcessingRequest(request_body=pb.HttpBody(body=CHAT, end_of_stream=True))


async def ask(call: Call, message: pb.ProcessingRequest) -> pb.ProcessingResponse:
    await call.write(message.SerializeToString())
    reply = await call.read()
    assert isinstance(reply, bytes)
    return pb.ProcessingResponse.FromString(reply)


async def test_a_stream_is_served_to_any_grpc_client(short_path: Path) -> None:
    with ProcessorProcess(short_path) as processor:
        async with grpc.aio.insecure_channel(f"unix:{processor.socket_path}") as channel:
            call = open_call(channel, ("x-headgate-backend", FACTS))
            headers, body = chat_messages()
            assert (await ask(call, headers)).HasField("request_headers")
            sent = json.loads((await ask(call, body)).request_body.response.body_mutation.body)
            assert sent["messages"] == [{"role": "user", "content": "hello"}]
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_that_is_not_ours_is_refused_with_its_reason(short_path: Path) -> None:
    with ProcessorProcess(short_path) as processor:
        async with grpc.aio.insecure_channel(f"unix:{processor.socket_path}") as channel:
            call = open_call(channel)
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "x-headgate-backend" in (await call.details() or "")
            garbage = open_call(channel, ("x-headgate-backend", FACTS))
            await garbage.write(b"\xff\xff")
            assert await garbage.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "stream_refused" in processor.log


async def test_prompts_are_counted_where_asked_and_messages_wait_their_turn(short_path: Path) -> None:
    with ProcessorProcess(short_path) as processor:
        async with grpc.aio.insecure_channel(f"unix:{processor.socket_path}") as channel:
            for _ in range(2):  # the first on a thread, the second at once
                call = open_call(channel, ("x-headgate-router", '{"count_prompt":true}'))
                headers, body = chat_messages()
                await ask(call, headers)
                await call.write(body.SerializeToString())
                await call.done_writing()
                reply = await call.read()
                assert isinstance(reply, bytes)
                published = pb.ProcessingResponse.FromString(reply).dynamic_metadata
                ours = published.fields["io.envoy.ai_gateway"].struct_value
                assert ours.fields["prompt_tokens"].number_value == 8
                assert await call.code() is grpc.StatusCode.OK


def test_it_starts_with_little_work_and_small(short_path: Path) -> None:
    with ProcessorProcess(short_path) as processor:
        assert cpu_seconds(processor.child.pid) < 3, "0.2 s on an idle machine"
        assert resident_bytes(processor.child.pid) < 60_000_000


async def test_sigterm_lets_running_streams_end(short_path: Path) -> None:
    with ProcessorProcess(short_path) as processor:
        async with grpc.aio.insecure_channel(f"unix:{processor.socket_path}") as channel:
            call = open_call(channel, ("x-headgate-backend", FACTS))
            headers, body = chat_messages()
            await ask(call, headers)
            processor.child.signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until, lambda: "draining" in processor.log, "the drain to begin")
            assert (await ask(call, body)).HasField("request_body")
            assert processor.child.exit_code() is None
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK
            assert await asyncio.to_thread(processor.child.wait) == 0


async def test_a_drain_does_not_wait_for_ever(short_path: Path) -> None:
    with ProcessorProcess(short_path, options=["--drain-seconds", "0.1"]) as processor:
        async with grpc.aio.insecure_channel(f"unix:{processor.socket_path}") as channel:
            call = open_call(channel, ("x-headgate-backend", FACTS))
            await ask(call, chat_messages()[0])
            processor.child.signal(signal.SIGTERM)
            assert await asyncio.to_thread(processor.child.wait) == 0
            assert await call.code() is grpc.StatusCode.UNAVAILABLE


def test_the_admin_page_has_metrics_and_health(short_path: Path) -> None:
    port = free_port()
    with ProcessorProcess(short_path, options=["--admin-port", str(port)]):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.read() == b"OK\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"headgate_extproc_streams_open 0" in answer.read()


def test_an_address_in_use_is_one_line(short_path: Path) -> None:
    port = free_port()
    with ProcessorProcess(short_path, options=["--admin-port", str(port)]):
        command = [sys.executable, "-c", "from headgate.extproc.main import main; main()"]
        command += ["--address", f"127.0.0.1:{port}"]
        failed = subprocess.run(command, capture_output=True, text=True, timeout=BUSY_SECONDS, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith(f"headgate-extproc: cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("arguments", [[], ["--address", "unix:/x", "--log-level", "loud"]])
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    command = [sys.executable, "-c", "from headgate.extproc.main import main; main()", *arguments]
    assert subprocess.run(command, capture_output=True, timeout=BUSY_SECONDS, check=False).returncode == 2
