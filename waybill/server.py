"""How uvicorn runs the application, in `waybill serve` and `waybill dev` alike."""

from typing import Any

# The log is ours, requests included, and nobody is told what serves them.
UVICORN: dict[str, Any] = {
    "http": "httptools",
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    "server_header": False,
}
