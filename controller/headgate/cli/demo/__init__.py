"""The demo provider: an LLM API without a model, for `headgate run` where no backend is configured.

Speaks OpenAI (chat completions, completions, responses, embeddings, models) and Anthropic (messages, count_tokens,
models), streams, calls tools, counts tokens, and says in its answers that it is a demo. Keys are not looked at, any
model is served.

`conversation` decides what to say and knows no wire format; `openai_wire` and `anthropic_wire` decode requests to it
and encode its replies; `server` is the shell. Run it with `python -m headgate.cli.demo --address 127.0.0.1:8091`.
"""
