import pytest


@pytest.mark.parametrize("number", range(20))
def test_squares_are_sums_of_odd_numbers(number):
    assert number * number == sum(range(1, 2 * number, 2))


@pytest.mark.parametrize("text", ["", "a", "abc"])
def test_reversing_twice_changes_nothing(text):
    assert text[::-1][::-1] == text


def test_breaks_when_told(request):
    assert not request.config.getoption("--break")
