"""Counts visits: GET /NAME adds one to NAME in the store and answers with the sum."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def increment(name: str) -> int:
    """Adds one to `name` and gives the sum, by one command of the store's protocol."""
    place = (os.environ["STORE_HOST"], int(os.environ["STORE_PORT"]))
    words = [b"INCR", name.encode()]
    request = b"*%d\r\n" % len(words)
    request += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    with socket.create_connection(place, timeout=30) as store:
        store.sendall(request)
        answer = store.makefile("rb").readline()
    if not answer.startswith(b":"):
        raise OSError(f"the store says {answer!r}")
    return int(answer[1:])


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self):
        try:
            status, text = 200, f"{increment(self.path.strip('/') or 'root')}\n"
        except OSError as error:
            status, text = 503, f"{error}\n"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        print(self.address_string(), format % args, flush=True)


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    print(f"listening on {port}", flush=True)
    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
