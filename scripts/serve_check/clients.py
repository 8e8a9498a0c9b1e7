#!/usr/bin/env python3
"""Uses `lacuna serve` by the `openai` package, and reads its metrics.

    clients.py PART http://127.0.0.1:8080 [KEY]

PART: openai (answers, streams, JSON schemas, each class of exception), batching (16 clients at once, each
as alone, and the throughput of that), gone (clients that go away), metrics, proxy (whether a stream comes
through a proxy as it is made). Exit code 1 when something is wrong.
"""

import asyncio
import concurrent.futures
import json
import re
import sys
import threading
import time
import typing
import urllib.error
import urllib.request

import openai
import pydantic


class Person(pydantic.BaseModel):
    name: str
    prophet: bool
    years: typing.Annotated[int, pydantic.Field(ge=0)]
    family: typing.Literal["Levi", "Judah"]


PROMPTS = ["In the beginning", "And it came to pass", "The LORD said unto Moses", "Blessed are they"]
faults = 0


def check(holds, what):
    global faults
    print("ok  " if holds else "FAIL", what)
    faults += not holds


def request(url, path, body=None, key=None, headers=None):
    """Status and text of one request, without a package."""
    data = None if body is None else json.dumps(body).encode()
    every = {"Content-Type": "application/json"} | ({"Authorization": "Bearer " + key} if key else {}) | (headers or {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data, every), timeout=600) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(url, key, name):
    return float(re.search(rf"^lacuna_{re.escape(name)} (\S+)", request(url, "/metrics", key=key)[1], re.M)[1])


def falls_to_zero(url, key, seconds=20):
    end = time.monotonic() + seconds
    while metric(url, key, "requests_active") > 0:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def raises(kind, call):
    try:
        call()
    except openai.OpenAIError as error:
        return type(error) is kind
    return False


def with_openai(url, key):
    client = openai.OpenAI(base_url=url + "/v1", api_key=key or "none", max_retries=0)
    model = client.models.list().data[0].id
    check(client.models.retrieve(model).id == model, "models.list and models.retrieve")
    fields = dict(model=model, prompt=PROMPTS[0], max_tokens=40, temperature=1, seed=7)
    whole = client.completions.create(**fields)
    check(whole.choices[0].text and whole.usage.completion_tokens <= 40, "completions.create")
    check(client.completions.create(**fields).choices[0].text == whole.choices[0].text, "the same seed, the same text")
    stream = list(client.completions.create(**fields, stream=True, stream_options={"include_usage": True}))
    check("".join(c.choices[0].text for c in stream if c.choices) == whole.choices[0].text and
          stream[-1].usage.total_tokens == whole.usage.total_tokens, f"completions, streamed in {len(stream)} chunks with usage")
    two = client.completions.create(**fields, n=2)
    check(two.choices[0].text == whole.choices[0].text != two.choices[1].text, "n = 2, of which the first is that of n = 1")
    stop = whole.choices[0].text[10:12]
    cut = client.completions.create(**fields, stop=stop)
    check(cut.choices[0].text == whole.choices[0].text.split(stop)[0] and cut.choices[0].finish_reason == "stop", "stop")
    fast = client.completions.create(**fields, extra_body={"temperature": 0, "strategy": "threshold", "threshold": 0.05, "block_length": 8})
    check(fast.model_extra["timings"]["forward_passes"] < 40,
          f"extra_body: threshold takes {fast.model_extra['timings']['forward_passes']} passes for 40 tokens")
    schema = {"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0}, "role": {"enum": ["prophet", "king"]}}}
    shape = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}
    people = [json.loads(c.text) for c in client.completions.create(
        model=model, prompt=PROMPTS[1], temperature=1, seed=3, n=8, extra_body={"response_format": shape}).choices]
    check(all(list(p) == ["name", "age", "role"] and len(p["name"]) <= 12 and p["age"] >= 0 and p["role"] in ("prophet", "king")
              for p in people), f"JSON schemas: {people[0]}")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who was Moses?"}]
    chats = json.loads(request(url, "/v1/models", key=key)[1])["data"][0]["chat"]
    if chats:
        chat = client.chat.completions.create(model=model, messages=messages, max_tokens=24, seed=1)
        check(chat.choices[0].message.role == "assistant" and chat.choices[0].message.content is not None, "chat.completions")
        person = client.chat.completions.parse(model=model, messages=messages, response_format=Person, seed=1).choices[0].message.parsed
        check(isinstance(person, Person), f"chat.completions.parse: {person!r}")
        chunks = list(client.chat.completions.create(model=model, messages=messages, max_tokens=24, seed=1, stream=True))
        text = "".join(c.choices[0].delta.content or "" for c in chunks)
        check(chunks[0].choices[0].delta.role == "assistant" and text == chat.choices[0].message.content and
              chunks[-1].choices[0].finish_reason == chat.choices[0].finish_reason, "chat.completions, streamed")

    async def asynchronous():
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=key or "none", max_retries=0) as a:
            some = await asyncio.gather(*(a.completions.create(**fields) for _ in range(4)))
            text = ""
            async for chunk in await a.completions.create(**fields, stream=True):
                text += chunk.choices[0].text
            return [s.choices[0].text for s in some] + [text]

    check(set(asyncio.run(asynchronous())) == {whole.choices[0].text}, "AsyncOpenAI, four at once and streamed")

    bad = lambda **more: lambda: client.completions.create(**(fields | more))
    check(raises(openai.BadRequestError, bad(top_p=0.5)), "BadRequestError: top_p")
    check(raises(openai.BadRequestError, bad(max_tokens=10**6)), "BadRequestError: max_tokens beyond the model")
    check(raises(openai.NotFoundError, bad(model="gpt-4")), "NotFoundError: another model")
    check(raises(openai.APITimeoutError, lambda: client.with_options(timeout=0.05).completions.create(
        **(fields | {"max_tokens": 200, "n": 8}))), "APITimeoutError: a client that waits no longer")
    stranger = openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0)
    if key:
        check(raises(openai.AuthenticationError, lambda: stranger.completions.create(**fields)), "AuthenticationError: a wrong key")
    foreign = openai.OpenAI(base_url=url + "/v1", api_key=key or "none", max_retries=0, default_headers={"Host": "evil.example"})
    check(raises(openai.PermissionDeniedError, lambda: foreign.completions.create(**fields)), "PermissionDeniedError: a foreign Host")
    try:
        client.completions.create(**fields, frequency_penalty=1)
    except openai.BadRequestError as error:
        check(error.param == "frequency_penalty" and error.code == "unsupported_parameter" and
              error.type == "invalid_request_error", "an error has param, code and type")
    check(falls_to_zero(url, key), "nothing is left behind")
    hold = [threading.Thread(target=lambda: raises(None, lambda: client.with_options(timeout=4).completions.create(
        **(fields | {"max_tokens": 200, "n": 100})))) for _ in range(120)]
    for thread in hold:
        thread.start()
    time.sleep(1)
    check(raises(openai.RateLimitError, bad(max_tokens=4)), "RateLimitError: the queue is full")
    for thread in hold:
        thread.join()
    check(falls_to_zero(url, key), "those who waited are gone")


def solo_and_together(url, key):
    model = json.loads(request(url, "/v1/models", key=key)[1])["data"][0]
    attention, longest = model["attention"], model["max_model_len"] - 16
    bodies = [{"prompt": PROMPTS[i % 4], "max_tokens": min(8 + 12 * i, longest), "temperature": i % 3 / 2, "seed": i} for i in range(16)]
    if attention != "causal":
        for i, body in enumerate(bodies):
            body |= {"strategy": "threshold" if i % 2 else "fixed", "threshold": 0.9}
    ask = lambda body: json.loads(request(url, "/v1/completions", body, key)[1])
    alone = [ask(body)["choices"][0]["text"] for body in bodies]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = [r["choices"][0]["text"] for r in pool.map(ask, bodies)]
    check(alone == together, "16 clients of different lengths and temperatures: each as alone")
    # Passes of one row: what a pass costs beside arithmetic is paid once for all texts in it.
    small = [{"prompt": PROMPTS[i % 4], "max_tokens": 64, "temperature": 1, "seed": i} for i in range(16)]
    if attention == "bidirectional":
        small = [body | {"cache": "dual", "block_length": 8} for body in small]
    ratios = []
    for _ in range(5):
        start = time.monotonic()
        first = sum(ask(body)["usage"]["completion_tokens"] for body in small)
        middle = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            second = sum(r["usage"]["completion_tokens"] for r in pool.map(ask, small))
        end = time.monotonic()
        one, many = first / (middle - start), second / (end - middle)
        ratios.append(many / one)
        print(f"      one by one {one:.0f} tokens/s, 16 at once {many:.0f} tokens/s")
    # Tiny models are bound by arithmetic; larger ones, one row at a time, by reading their weights.
    print(f"      16 at once are {sorted(ratios)[2]:.1f} times as fast as one by one")


def gone(url, key):
    check(falls_to_zero(url, key), "no request is active")
    body = {"prompt": PROMPTS[0], "max_tokens": 200, "n": 64}
    for stream in (False, True):
        threads = [threading.Thread(target=lambda: forget(url, key, body | {"stream": stream})) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start = time.monotonic()
        steps = metric(url, key, "forward_passes_total")
        check(falls_to_zero(url, key), f"24 clients that go away, {'streaming' if stream else 'not streaming'}: no request is "
              f"active {1000 * (time.monotonic() - start):.0f} ms and "
              f"{metric(url, key, 'forward_passes_total') - steps:.0f} passes later")


def forget(url, key, body):
    import http.client
    host = url.split("//")[1]
    connection = http.client.HTTPConnection(host, timeout=0.7)
    headers = {"Content-Type": "application/json"} | ({"Authorization": "Bearer " + key} if key else {})
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    try:
        reply = connection.getresponse()
        reply.read(100)
    except OSError:
        pass
    connection.close()
    if connection.sock:
        connection.sock.close()


def metrics(url, key):
    status, text = request(url, "/metrics", key=key)
    check(status == 200, "/metrics")
    typed = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", text, re.M))
    for line in text.splitlines():
        if not line.startswith("#") and not re.fullmatch(r'lacuna_[a-z_]+(\{[a-z]+="[^"]*"\})? [0-9.e+-]+', line):
            check(False, "a line of the text format: " + line)
    samples = {re.sub(r"_(bucket|sum|count)$", "", re.match(r"[a-z_]+", l)[0]) for l in text.splitlines() if l[0] != "#"}
    check(samples == typed, f"every one of {len(typed)} metrics has a type, and the other way round")
    buckets = [float(v) for v in re.findall(r"step_seconds_bucket\{[^}]*\} (\S+)", text)]
    check(buckets == sorted(buckets) and buckets[-1] == metric(url, key, "step_seconds_count"), "the histogram's buckets add up")


def through_proxy(url, key):
    body = {"prompt": "And it came to pass", "max_tokens": 200, "temperature": 1, "seed": 3, "stream": True, "block_length": 8}
    start, times, text = time.monotonic(), [], ""
    asked = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=600) as reply:
        for line in reply:
            if line.startswith(b"data: {"):
                times.append(time.monotonic() - start)
                text += json.loads(line[6:])["choices"][0]["text"]
    body["stream"] = False
    whole = json.loads(request(url, "/v1/completions", body)[1])["choices"][0]["text"]
    check(text == whole, "the stream's text is that of an answer in one piece")
    check(len(times) > 5 and times[0] < times[-1] / 2,
          f"{len(times)} events, the first after {1000 * times[0]:.0f} ms, the last after {1000 * times[-1]:.0f} ms")


if __name__ == "__main__":
    parts = {"openai": with_openai, "batching": solo_and_together, "gone": gone, "metrics": metrics, "proxy": through_proxy}
    parts[sys.argv[1]](sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
    sys.exit(1 if faults else 0)
