"""HTTP/1.1 on threads and sockets, one thread a connection.

http.server is not used: a signature has to be checked over the bytes as they came,
faults have to cut, stall and mis-frame what goes back, and a long poll has to notice
that its client has left. All three need the connection itself.
"""

import socket
import ssl
import sys
import threading
import time
import traceback
from email.utils import formatdate
from http import HTTPStatus

MAX_HEAD = 64 * 1024
MAX_BODY = 16 * 1024 * 1024
WATCH_SECONDS = 0.1         # how late a pause may notice that the client has left


class Gone(Exception):
    """The client closed the connection."""


class Malformed(Exception):
    """Not a request; the connection cannot be used any further."""


class Hangup(Exception):
    """Raised by a service to close the connection instead of answering."""

    def __init__(self, reset=False):
        super().__init__()
        self.reset = reset


class Request:
    """One request with everything as it stood on the wire."""

    def __init__(self, connection, method, target, headers, body):
        self.connection = connection
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.fields = {name.lower(): value for name, value in headers}
        self.record = {}

    def header(self, name):
        """The value of a header (name in lower case); None when it was not sent."""
        return self.fields.get(name)


class Reply:
    """What goes back. The parts are sent one by one: a generator may pause, cut or never end them."""

    def __init__(self, status, headers=(), parts=(), keep=True):
        self.status = status
        self.headers = list(headers)
        self.parts = parts
        self.keep = keep

    def head(self, date):
        lines = [f"HTTP/1.1 {self.status} {reason(self.status)}", f"Date: {date}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if not self.keep:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def reason(status):
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def sized(status, headers, body, keep=True):
    return Reply(status, [*headers, ("Content-Length", len(body))], [body], keep)


def chunked(status, headers, chunks, keep=True):
    return Reply(status, [*headers, ("Transfer-Encoding", "chunked")], chunks, keep)


def until_close(status, headers, body):
    return Reply(status, headers, [body], keep=False)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def in_chunks(body, size=16 * 1024):
    """The body in chunked framing, with its end."""
    pieces = [chunk(body[at:at + size]) for at in range(0, len(body), size)]
    return b"".join(pieces) + b"0\r\n\r\n"


class Connection:
    def __init__(self, sock, number):
        self.sock = sock
        self.number = number
        self.buffer = bytearray()

    def alive(self):
        """False once the client has closed; what it sent ahead is kept for later."""
        self.sock.settimeout(0)
        try:
            data = self.sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(None)
        self.buffer += data
        return bool(data)

    def pause(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self.alive():
                raise Gone
            time.sleep(min(left, WATCH_SECONDS))

    def read_request(self):
        method, target, headers = parse_head(self._take_head())
        request = Request(self, method, target, headers, b"")
        request.body = self._take_body(request)
        return request

    def send(self, reply, date):
        """Head and first part leave in one packet: with keep-alive that saves a delayed ACK."""
        pending = reply.head(date)
        for part in reply.parts:
            self.sock.sendall(pending + part)
            pending = b""
        if pending:
            self.sock.sendall(pending)

    def close(self, reset=False):
        try:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            else:
                self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def _fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.buffer += data

    def _take(self, length):
        while len(self.buffer) < length:
            self._fill()
        data = bytes(self.buffer[:length])
        del self.buffer[:length]
        return data

    def _take_head(self):
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if len(self.buffer) > MAX_HEAD:
                raise Malformed("head too long")
            self._fill()
        return self._take(end + 4)[:-4]

    def _take_body(self, request):
        if request.header("transfer-encoding"):
            raise Malformed("requests have to state their length")
        length = request.header("content-length") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise Malformed("bad length")
        if (request.header("expect") or "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._take(int(length))


def parse_head(head):
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise Malformed("bad request line")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Malformed("bad header line")
        headers.append((name, value.strip(" \t")))
    return words[0], words[1], headers


class Server:
    """Hands every request to answer(request), which returns a Reply."""

    def __init__(self, answer, port=0, tls=None, clock=time.time):
        self.answer = answer
        self.tls = tls
        self.clock = clock
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self.listener.getsockname()[1]

    def serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._converse, args=(sock, self.connections), daemon=True).start()

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def _converse(self, sock, number):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock, number)
        try:
            if self.tls:
                connection.sock = self.tls.wrap_socket(sock, server_side=True)
            while self._exchange(connection):
                pass
        except Hangup as hangup:
            connection.close(hangup.reset)
        except (Gone, OSError):
            pass
        except Exception:
            traceback.print_exc(file=sys.stderr)
        finally:
            connection.close()

    def _exchange(self, connection):
        try:
            request = connection.read_request()
        except Malformed as error:
            connection.send(sized(400, [], str(error).encode(), keep=False), self._date())
            return False
        reply = self.answer(request)
        if (request.header("connection") or "").lower() == "close":
            reply.keep = False
        connection.send(reply, self._date())
        return reply.keep

    def _date(self):
        return formatdate(self.clock(), usegmt=True)
