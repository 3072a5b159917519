"""Why a CRL could not be fetched, by what was raised."""

from __future__ import annotations

import pytest

from authz.crls.failures import FailureKind, FetchFailed, Row, raised_as

ROWS: tuple[Row, ...] = (
    ((TimeoutError,), FailureKind.TIMEOUT),
    ((OSError, LookupError), FailureKind.CONNECT),
)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (TimeoutError(), FailureKind.TIMEOUT),
        (ConnectionError("gone"), FailureKind.CONNECT),
        (KeyError(1), FailureKind.CONNECT),
    ],
)
def test_error_is_reported_by_the_first_row_that_fits(raised: Exception, kind: FailureKind) -> None:
    """A time-out is an error of the system too."""
    with pytest.raises(FetchFailed) as error, raised_as(ROWS):
        raise raised
    assert error.value.kind is kind
    assert error.value.detail
    assert error.value.__cause__ is raised


def test_error_of_no_row_goes_on_as_it_is() -> None:
    """A mistake of ours is not a server's."""
    with pytest.raises(ZeroDivisionError), raised_as(ROWS):
        raise ZeroDivisionError


def test_detail_is_safe_to_show() -> None:
    """It quotes servers."""
    failed = FetchFailed(FailureKind.STATUS, "404 \x1b[31m\n" + "x" * 5_000)
    assert failed.detail.isprintable()
    assert len(failed.detail) < 250
    assert str(failed).startswith("status: 404 \\u001b")
