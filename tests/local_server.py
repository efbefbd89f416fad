"""A public home on this machine: an HTTP server that can also misbehave, request by request."""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Home:
    """What the server holds, how it will misbehave, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path, without the leading slash."""
    faults: list[str] = field(default_factory=list)
    """One for each coming request: `truncate`, `reset`, `no range`, `wrong range`, `no length`."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range header) of every request so far."""


def _handler(home: Home) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, asked = self.path.lstrip("/"), self.headers.get("Range")
            home.requests.append((path, asked))
            fault = home.faults.pop(0) if home.faults else ""
            if path not in home.files:
                self.send_error(404)
                return
            content, start = home.files[path], 0
            if asked and fault != "no range":
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                told = 0 if fault == "wrong range" else start
                self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            body = content[start:]
            if fault != "no length":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault in ("truncate", "reset") else body)
            if fault == "reset":
                # Lingering for 0 seconds makes close() send RST: the network cut, not the end.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.wfile.flush()
                self.connection.close()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serve() -> Iterator[Home]:
    """A `Home` that answers for as long as the block lasts."""
    home = Home()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(home))
    home.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield home
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
