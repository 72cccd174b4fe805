"""What is printed after `ready` when nobody wrote a configuration: how to call it, ready to be pasted."""

import shlex
from collections.abc import Callable

from headgate.cli.providers import DEMO, Found


def maker(found: Found) -> Callable[[str], str]:
    """From the base URL to the text."""
    model = example_model(found)

    def text(url: str) -> str:
        return _TEXT.format(url=url, model=model, curl=curl(url, model))

    return text


def example_model(found: Found) -> str:
    """A model that is served."""
    return found.used[-1].provider.example_model if found.used else DEMO


def curl(url: str, model: str, *, key: str = "") -> str:
    """A command that asks for a chat; `key` is what is shown to the gateway."""
    shown = f' -H "authorization: Bearer {key}"' if key else ""
    # (brackets of IPv6 mean something to zsh)
    return _CURL.format(url=shlex.quote(f"{url}/v1/chat/completions"), model=model, key=shown)


_CURL = """curl {url} -H 'content-type: application/json'{key} \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'"""
_TEXT = """
Base URL for OpenAI clients: {url}/v1 (Anthropic clients: {url}/anthropic). Any API key will do.

{curl}

from openai import OpenAI  # pip install openai
client = OpenAI(base_url="{url}/v1", api_key="any")
messages = [{{"role": "user", "content": "Hello!"}}]
for chunk in client.chat.completions.create(model="{model}", messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)

Ctrl-C stops everything.
"""
