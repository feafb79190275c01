"""The price of an answer."""

from __future__ import annotations

import pytest
from codex_gateway.dialect.neutral import Usage
from codex_gateway.record.cost import Prices

from tests.unit.gateway.record.conftest import PRICES

USAGE = Usage(input=1_000_000, cache_read=2_000_000, cache_write=3_000_000, output=4_000_000, reasoning=500_000)


def test_the_first_row_that_fits_counts() -> None:
    prices = Prices(PRICES)
    assert prices.cost_usd("cheap-one", "gpt-5.5", USAGE) == pytest.approx(1 + 4 * 2)
    assert prices.cost_usd("other", "gpt-5.5", USAGE) == pytest.approx(10 + 2 * 1 + 3 * 12.5 + 4 * 20)


def test_no_price_is_not_nothing() -> None:
    assert Prices(PRICES).cost_usd("other", "unknown", USAGE) is None
    assert Prices(()).cost_usd("other", "gpt-5.5", USAGE) is None
