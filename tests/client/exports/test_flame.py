"""The page of a flame graph: what it shows, and what it does not let names do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dftindexd.client.exports.call_stacks import CallTree
from dftindexd.client.exports.flame import flame_page, shown_frames
from tests.client.exports.browser import Browser, Page, browser
from tests.client.exports.made import process, stream

#: What a name would have to be to break out of the page.
_HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">'\"&\u2028${1}"


def _tree() -> CallTree:
    tree = CallTree()
    tree.add(stream(), [(0, 90_000, "a"), (10_000, 50_000, _HOSTILE), (60_000, 61_000, "c")])
    tree.add(stream(tid=9), [(0, 10_000, "a")])
    return tree


def _page() -> str:
    return flame_page(_tree().whole, _HOSTILE, [process(exe=_HOSTILE)], 0, 90_000).decode()


def test_frames_follow_the_one_that_they_lie_in_the_longest_first() -> None:
    shown = shown_frames(_tree().whole)
    assert [(shown.names[name], outer) for name, outer, *_ in shown.frames] == [
        *(("all", -1), ("app node1:7:7000000", 0)),
        *(("thread 8", 1), ("a", 2), (_HOSTILE, 3), ("c", 3)),
        *(("thread 9", 1), ("a", 6)),
    ]
    assert [numbers[2:] for numbers in shown.frames[:4]] == [
        *((4, 100, 0), (4, 100, 0), (3, 90, 0), (1, 90, 49)),
    ]
    assert (shown.hidden, shown.least) == (0, 0.0)


def test_a_page_has_a_bounded_number_of_frames_and_says_what_it_leaves_out() -> None:
    tree = CallTree()
    tree.add(stream(), [(at * 1000, at * 1000 + at, f"f{at}") for at in range(1, 500)])
    shown = shown_frames(tree.whole, most=100)
    assert (len(shown.frames), shown.hidden) == (100, 402)
    assert shown.names[3:] == [f"f{at}" for at in range(499, 402, -1)]
    assert shown.least == pytest.approx(403 / sum(range(1, 500)))
    tree.add(stream(tid=9), [(at * 1000, at * 1000 + 7, f"g{at}") for at in range(1, 500)])
    assert len(shown_frames(tree.whole, most=600).frames) == 600


def test_names_end_no_element_of_the_page() -> None:
    page = _page()
    assert page.count("</script>") == page.count("<script") == 2
    assert "<img" not in page
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert data["title"] == data["processes"][0]["exe"] == _HOSTILE
    assert _HOSTILE in data["names"]


def test_many_processes_are_counted_and_some_listed() -> None:
    page = flame_page(_tree().whole, "t", [process(one) for one in range(1, 1500)], 0, 1).decode()
    assert '"process_count":1499' in page
    assert page.count('"id":"node1:') == 1000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with browser() as running:
        yield running


def _shown(page: Page) -> list[str]:
    names: list[str] = page.evaluate(
        "[...document.querySelectorAll('.frame:not(.outer)')].map(one => one.textContent)"
    )
    return sorted(names)


def test_the_page_works_in_a_browser_and_asks_nobody_for_anything(
    chromium: Browser, tmp_path: Path
) -> None:
    place = tmp_path / "page.html"
    place.write_text(_page())
    page = chromium.open(place)
    every = sorted(["all", "app node1:7:7000000", "thread 8", "thread 9", "a", "a", "c", _HOSTILE])
    assert _shown(page) == every
    assert page.evaluate("document.title") == f"Flame graph: {_HOSTILE}"
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("document.querySelector('#processes td:nth-child(2)').textContent") == (
        _HOSTILE
    )
    # The widths of frames are their shares of the time.
    width = "document.querySelector('[data-index=\"{}\"]').getBoundingClientRect().width"
    whole, thread = (page.evaluate(width.format(index)) for index in (0, 2))
    assert thread / whole == pytest.approx(0.9, abs=0.01)

    page.click('[data-index="3"]')
    assert _shown(page) == sorted(["a", "c", _HOSTILE])
    assert page.evaluate(width.format(3)) == whole
    path = "[...document.querySelectorAll('#path button')].map(one => one.textContent)"
    assert page.evaluate(path) == ["all", "app node1:7:7000000", "thread 8", "a"]
    tip = "document.getElementById('tip').textContent"
    assert "1 call, 90 us in all, 90.00 % of the whole\n49 us outside" in page.evaluate(tip)

    for key, name in (("ArrowDown", _HOSTILE), ("ArrowRight", "c"), ("ArrowUp", "a")):
        page.press(key)
        assert page.evaluate("document.activeElement.textContent") == name
    page.press("ArrowDown")
    page.press("Enter")
    assert _shown(page) == [_HOSTILE]
    page.press("Escape")
    assert _shown(page) == every

    page.press("/")
    page.call("Input.insertText", text="A")
    found = "[...document.querySelectorAll('.found')].map(one => one.textContent)"
    assert sorted(page.evaluate(found)) == sorted(name for name in every if "a" in name.lower())
    assert page.evaluate("document.getElementById('found').textContent") == (
        "6 frames, 100.00 % of the time"
    )
    assert page.complaints() == []
    assert page.requests() == [place.as_uri()]


def test_a_page_can_load_nothing_even_if_a_script_came_into_it(
    chromium: Browser, tmp_path: Path
) -> None:
    place = tmp_path / "page.html"
    place.write_text(_page().replace("<h1", "<script>document.title='owned'</script><h1"))
    page = chromium.open(place)
    assert page.evaluate("document.title").startswith("Flame graph")
    (refused,) = page.complaints()
    assert "Content Security Policy" in refused["params"]["entry"]["text"]
