"""The official OpenAI client (Python), unmodified, against llm-worker."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import openai

BASE = os.environ["LLM_URL"] + "/v1"
MODEL = os.environ["LLM_MODEL"]
MESSAGES = [{"role": "user", "content": "Hello, who is there?"}]

# No retries: each answer is looked at as it comes.
client = openai.OpenAI(base_url=BASE, api_key="none is needed on loopback", max_retries=0, timeout=30)


def models() -> None:
    (model,) = client.models.list().data
    assert model.id == MODEL and model.object == "model", model
    assert client.models.retrieve(MODEL).id == MODEL
    print("ok models")


def whole() -> str:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=24)
    (choice,) = answer.choices
    assert answer.object == "chat.completion" and choice.message.role == "assistant", answer
    assert choice.message.content and choice.finish_reason in ("stop", "length"), choice
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    assert 0 < usage.completion_tokens <= 24 and usage.prompt_tokens > 0, usage
    assert answer.model_extra["timings"]["ttft_ms"] > 0, answer
    print(f"ok chat: {choice.message.content!r}")
    return choice.message.content


def streamed(expected: str) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=24, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])
    *_, finish, last = chunks
    assert finish.choices[0].finish_reason in ("stop", "length"), finish
    assert last.choices == [] and last.usage.completion_tokens > 0, last
    assert last.usage.prompt_tokens_details.cached_tokens >= 0, last
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == expected, (text, expected)
    print(f"ok stream: {len(chunks)} chunks, the same text, the usage last")


def completions() -> None:
    whole = client.completions.create(model=MODEL, prompt="Hello", max_tokens=8, seed=7, temperature=0.7)
    again = client.completions.create(model=MODEL, prompt="Hello", max_tokens=8, seed=7, temperature=0.7)
    assert whole.object == "text_completion" and whole.choices[0].text == again.choices[0].text
    pieces = client.completions.create(
        model=MODEL, prompt="Hello", max_tokens=8, seed=7, temperature=0.7, stream=True
    )
    text = "".join(piece.choices[0].text for piece in pieces)
    assert text == whole.choices[0].text, (text, whole.choices[0].text)
    print("ok completions: the same seed, the same text")


def fails(what: str, kind: type[openai.APIStatusError], call, **expected) -> None:
    try:
        call()
    except kind as error:
        seen = {name: getattr(error, name) for name in expected}
        assert seen == expected, (what, seen)
        assert error.request_id, what
        print(f"ok {what}: {kind.__name__} {error.status_code}")
        return
    raise SystemExit(f"FAILED {what}: no error")


def errors() -> None:
    chat = client.chat.completions.create
    fails(
        "another model",
        openai.NotFoundError,
        lambda: chat(model="gpt-4o", messages=MESSAGES),
        code="model_not_found",
        param="model",
    )
    fails("no messages", openai.BadRequestError, lambda: chat(model=MODEL, messages=[]), param="messages")
    fails(
        "a role that is none",
        openai.BadRequestError,
        lambda: chat(model=MODEL, messages=[{"role": "clown", "content": "a"}]),
        param="messages[0].role",
    )
    fails(
        "too hot",
        openai.BadRequestError,
        lambda: chat(model=MODEL, messages=MESSAGES, temperature=9),
        param="temperature",
    )
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    fails(
        "tools",
        openai.BadRequestError,
        lambda: chat(model=MODEL, messages=MESSAGES, tools=[tool]),
        param="tools",
        code="unsupported_parameter",
    )
    fails(
        "too long",
        openai.BadRequestError,
        lambda: client.completions.create(model=MODEL, prompt="word " * 100_000),
        code="context_length_exceeded",
    )
    fails(
        "embeddings",
        openai.NotFoundError,
        lambda: client.embeddings.create(model=MODEL, input="a"),
        code="unknown_url",
    )


def full() -> None:
    """One slot and nobody waits: of many at once, some are told so, and nobody fails otherwise."""
    together = threading.Barrier(16)

    def ask(_):
        together.wait()
        try:
            client.completions.create(
                model=MODEL, prompt="Hello", max_tokens=200, extra_body={"ignore_eos": True}
            )
        except openai.RateLimitError as error:
            assert error.code == "queue_full" and int(error.response.headers["retry-after"]) >= 1
            return "full"
        return "served"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert "full" in answers and "served" in answers, answers
    print(f"ok full: {answers.count('served')} served, {answers.count('full')} RateLimitError 429")
    # With its own retries, which heed Retry-After, the client gets through.
    patient = client.with_options(max_retries=3)
    assert patient.completions.create(model=MODEL, prompt="Hello", max_tokens=2).choices
    print("ok full: served afterwards")


def abandoned() -> None:
    """Leaving a stream frees the one slot."""
    stream = client.completions.create(
        model=MODEL, prompt="Hello", max_tokens=200, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    patient = client.with_options(max_retries=3)
    assert patient.completions.create(model=MODEL, prompt="Hello", max_tokens=2).choices
    print("ok abandoned: the slot is free again")


models()
streamed(whole())
completions()
errors()
full()
abandoned()
