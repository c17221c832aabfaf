"""The log of a service never shows what an error says."""

from __future__ import annotations

import logging

import pytest

from cloud_bridge.logs import Discreet

SECRET = "margaret@brightwater.example"


def record(name: str, message: str, *arguments: object) -> logging.LogRecord:
    error = ValueError(SECRET)
    info = (ValueError, error, error.__traceback__)
    return logging.LogRecord(name, logging.ERROR, "f.py", 1, message, arguments, info, sinfo=SECRET)


@pytest.mark.parametrize("name", ["uvicorn.error", "asyncio", "edge_agent.http"])
def test_an_error_is_logged_by_its_type_alone(name: str):
    line = Discreet().format(record(name, "Exception in %s application\n", "ASGI"))
    assert line == f"ERROR {name}: Exception in ASGI application (ValueError)"


def test_asyncio_reports_lose_the_lines_that_show_the_error():
    message = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>"
    assert SECRET not in Discreet().format(record("asyncio", message))
