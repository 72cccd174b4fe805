"""What is printed after `ready` when nobody wrote a configuration: how to call it, ready to be pasted."""

from collections.abc import Callable

from headgate.cli.providers import DEMO, Found


def maker(found: Found) -> Callable[[str], str]:
    """From the base URL to the text."""
    model = found.used[-1][0].example_model if found.used else DEMO

    def text(url: str) -> str:
        return _TEXT.format(url=url, model=model)

    return text


_TEXT = """
Base URL for OpenAI clients: {url}/v1 (Anthropic clients: {url}/anthropic). Any API key will do.

  curl {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="any")
  messages = [{{"role": "user", "content": "Hello!"}}]
  for chunk in client.chat.completions.create(model="{model}", messages=messages, stream=True):
      print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)

Ctrl-C stops everything.
"""
