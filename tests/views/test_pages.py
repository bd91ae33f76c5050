"""Eight messages in flight per page, and no page that holds up the others for long."""

from __future__ import annotations

from streamlab.views.pages import FORGOTTEN_S, Pages


def sent(pages: Pages, now: float = 0.0, *, busy: bool = False, most: int = 50) -> int:
    """How many messages may go out at one moment."""
    for count in range(most):
        if pages.wait(now, busy=busy) != 0:
            return count
        pages.next(now)
    return most


def test_a_page_that_does_not_answer_gets_eight_messages():
    pages = Pages()
    pages.hello("a")

    assert sent(pages) == 8
    assert pages.wait(10.0, busy=False) is None


def test_an_answer_is_asked_for_before_the_credit_ends():
    pages = Pages()
    pages.hello("a")

    asked = [pages.next(0.0)[1] for _ in range(8)]

    assert asked == [False] * 3 + [True] * 5


def test_an_answer_gives_credit_back():
    pages = Pages()
    pages.hello("a")
    sent(pages)

    pages.answer("a", 6)

    assert sent(pages) == 6


def test_a_silent_page_holds_the_others_back_for_a_second_only():
    pages = Pages()
    pages.hello("asleep")
    pages.hello("awake")
    sent(pages)
    pages.answer("awake", pages.seq)

    assert pages.wait(0.5, busy=False) == 0.5
    assert sent(pages, 1.0) == 8


def test_while_a_cell_runs_a_little_goes_out_without_answers_less_and_less():
    pages = Pages()
    pages.hello("a")
    sent(pages)

    assert pages.wait(0.1, busy=True) == 0.15
    assert sent(pages, 0.25, busy=True) == 1
    assert sent(pages, 0.25, busy=True) == 0
    assert pages.wait(60.0, busy=True) == 0.0
    pages.next(60.0)
    assert pages.wait(60.0, busy=True) == 2.0


def test_a_page_that_is_gone_is_forgotten_and_greeted_when_it_is_back():
    pages = Pages()
    pages.hello("a")
    sent(pages)

    assert pages.wait(FORGOTTEN_S + 1, busy=False) is None
    assert not pages
    assert not pages.answer("a", 3)


def test_nobody_watches_after_goodbye():
    pages = Pages()
    pages.hello("a")
    pages.bye("a")

    assert pages.wait(0.0, busy=False) is None
