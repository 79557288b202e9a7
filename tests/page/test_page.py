"""The page in a real browser: streaming, probabilities, two answers and a vote, keyboard, phone, two languages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from adapted import moved
from servers import Served, engine_of, serving
from talkers import small_model

from danlu.core.spec import Spec
from danlu.peft.attached import activate, attach

sync = pytest.importorskip("playwright.sync_api", reason="drives the browser; pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; apt-get install chromium"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("votes") / "votes.jsonl"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, votes: Path) -> Iterator[Served]:
    model = small_model(context=512)
    attach(model, Spec.read({"use": "lora", "rank": 4}), "law")
    activate(moved(model))
    with serving(engine_of(tmp_path_factory.mktemp("page"), model=model), votes=votes) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    with _opened(browser, served, viewport={"width": 1100, "height": 800}) as page:
        yield page


class _opened:
    """A page that has loaded; afterwards nothing went wrong in it that nobody saw."""

    def __init__(self, browser: Any, served: Served, **context: Any) -> None:
        self.context = browser.new_context(locale=context.pop("locale", "en-US"), **context)
        self.url = served.url

    def __enter__(self) -> Any:
        page = self.context.new_page()
        self.troubles: list[str] = []
        page.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.goto(self.url)
        page.wait_for_selector("#model option", state="attached")
        return page

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        assert kind or not [one for one in self.troubles if "status of 400" not in one], self.troubles


def _set(page: Any, **values: object) -> None:
    if page.get_attribute("#settings-toggle", "aria-expanded") == "false":
        page.click("#settings-toggle")
    for name, value in values.items():
        if isinstance(value, bool):
            page.set_checked(f"#{name}", value)
        else:
            page.fill(f"#{name}", str(value))


def _ask(page: Any, text: str, answers: int = 1) -> list[str]:
    before = page.locator(".answer").count()
    page.fill("#message", text)
    page.press("#message", "Enter")
    page.locator(".answer").nth(before + answers - 1).wait_for()
    page.wait_for_selector(".answer[aria-busy]", state="detached")
    return page.locator(".answer .text").all_inner_texts()[before:]


def test_an_answer_is_that_of_the_api_and_the_talk_goes_on(page: Any, served: Served) -> None:
    _set(page, temperature=0, max_tokens=20)
    with page.expect_request("**/v1/chat/completions") as first:
        (text,) = _ask(page, "the 你好")
    assert first.value.post_data_json["messages"] == [{"role": "user", "content": "the 你好"}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": "the 你好"}], "temperature": 0, "max_tokens": 20}
    said = httpx.post(f"{served.url}/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert text == said
    with page.expect_request("**/v1/chat/completions") as second:
        _ask(page, "more")
    said = second.value.post_data_json["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "user"]
    page.click("#fresh")
    assert page.locator("article").count() == 0


def test_models_and_adapters_are_offered_and_asked(page: Any) -> None:
    names = page.locator("#model option").all_inner_texts()
    assert names == ["tiny", "law"]
    page.select_option("#model", "law")
    _set(page, temperature=0, max_tokens=8)
    with page.expect_request("**/v1/chat/completions") as asked:
        _ask(page, "the")
    assert asked.value.post_data_json["model"] == "law"


def test_probabilities_on_hover_and_by_keyboard(page: Any) -> None:
    _set(page, temperature=1, max_tokens=16, seed=3, probabilities=True)
    _ask(page, "the")
    tokens = page.locator(".answer .token")
    assert tokens.count() > 3
    tokens.nth(2).hover()
    about = page.locator("#about")
    assert about.is_visible()
    assert "%" in about.inner_text()
    assert about.locator("p").count() == 6, "the token and the five likeliest"
    page.focus(".answer .text")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".token.now").count() == 1
    page.keyboard.press("Escape")
    assert about.is_hidden()


def test_two_answers_and_a_vote_that_is_kept(page: Any, votes: Path) -> None:
    _set(page, temperature=0, max_tokens=10, compare=True)
    page.select_option("#second-model", "law")
    left, right = _ask(page, "the 你好", answers=2)
    page.click("[data-vote=right]")
    page.wait_for_selector("text=Vote kept")
    kept = json.loads(votes.read_text().splitlines()[-1])
    assert kept["vote"] == "right"
    assert (kept["left"]["model"], kept["right"]["model"]) == ("tiny", "law")
    assert (kept["left"]["text"], kept["right"]["text"]) == (left, right)
    _set(page, compare=False)
    with page.expect_request("**/v1/chat/completions") as asked:
        _ask(page, "more")
    assert asked.value.post_data_json["messages"][1] == {"role": "assistant", "content": right}


def test_stopping_and_going_on(page: Any) -> None:
    _set(page, temperature=0, max_tokens=400)
    page.fill("#message", "the")
    page.press("#message", "Enter")
    page.wait_for_selector("#stop:visible")
    page.click("#stop")
    page.wait_for_selector("#send:visible")
    _set(page, max_tokens=5)
    assert len(_ask(page, "again")) == 1


def test_a_refusal_is_shown_and_the_message_kept(page: Any) -> None:
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=400, json={"error": {"message": "temperature 9: must be 0 to 2"}}),
    )
    page.fill("#message", "the")
    page.press("#message", "Enter")
    page.wait_for_selector("#trouble:visible")
    assert "must be 0 to 2" in page.inner_text("#trouble")
    assert page.input_value("#message") == "the"
    page.unroute("**/v1/chat/completions")


def test_english_and_chinese(browser: Any, served: Served) -> None:
    with _opened(browser, served, locale="zh-CN") as page:
        assert page.get_attribute("html", "lang") == "zh"
        assert page.inner_text("#send") == "发送"
        page.click("#language")
        assert page.inner_text("#send") == "Send"
        assert page.get_attribute("html", "lang") == "en"
        page.reload()
        assert page.inner_text("#send") == "Send", "the choice is kept"


def test_a_phone(browser: Any, served: Served) -> None:
    with _opened(browser, served, viewport={"width": 360, "height": 640}) as page:
        _set(page, temperature=0, max_tokens=10, compare=True)
        _ask(page, "the 你好 " * 12, answers=2)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, "the page is wider than the phone"
        first, second = (page.locator(".pair .answer").nth(n).bounding_box() for n in (0, 1))
        assert second["y"] >= first["y"] + first["height"], "answers stand below each other"


def test_all_by_keyboard(page: Any) -> None:
    page.click("h1")
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert [one for one in reached if one][:6] == ["model", "fresh", "settings-toggle", "language", "message", "send"]
    page.focus("#settings-toggle")
    page.keyboard.press("Enter")
    assert page.is_visible("#settings")
