"""What the tests of the chart share."""

import pytest

from tests.helm.charts import helms


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `program` with each helm that there is; skip it where there is none."""
    if "program" in metafunc.fixturenames:
        found = helms() or [pytest.param("", marks=pytest.mark.skip(reason="no helm: make helm fetches one"))]
        metafunc.parametrize("program", found, ids=lambda path: str(path).rpartition("/")[2])
