"""A session of a PostgreSQL server: the simple protocol over its socket, without waiting for answers."""

import select
import socket
import struct

PROTOCOL = 3 << 16


class Lost(Exception):
    """The server has ended the connection."""


class Fault(Exception):
    """What must not happen, with what there is to see of it."""

    def __init__(self, message, lines=()):
        super().__init__(message)
        self.lines = list(lines)


class Result:
    """What came of one statement: rows of texts, its tag, or an error."""

    def __init__(self):
        self.rows = []
        self.tag = None
        self.error = None           # fields by their letters: C code, M message, D detail, H hint

    @property
    def code(self):
        return self.error and self.error["C"]

    def value(self):
        return self.rows[0][0] if self.rows else None


class Session:
    """One connection.  start() sends a statement; take() reads what is there and returns its Result once all is."""

    def __init__(self, directory, port, database, user, **settings):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(f"{directory}/.s.PGSQL.{port}")
        self.buffer = bytearray()
        self.busy = True
        self.result = Result()
        self.notices = []           # of the statement that runs
        self.status = None          # I idle, T in a transaction, E in a failed one
        self.pid = None
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        pairs = {"user": user, "database": database, "options": options}
        body = struct.pack("!i", PROTOCOL)
        body += b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items()) + b"\0"
        self.sock.sendall(struct.pack("!i", len(body) + 4) + body)
        self.wait()
        if self.result.error:
            raise Lost(self.result.error["M"])

    def fileno(self):
        return self.sock.fileno()

    def start(self, statement):
        body = statement.encode() + b"\0"
        self.busy, self.result, self.notices = True, Result(), []
        try:
            self.sock.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
        except OSError:
            pass                    # take() finds out

    def take(self, seconds=0):
        """The Result when the statement is done within the time; None: not yet."""
        while self.busy and select.select([self.sock], [], [], seconds)[0]:
            try:
                data = self.sock.recv(1 << 18)
            except OSError as error:
                raise Lost(str(error)) from error
            if not data:
                self.busy = False
                raise Lost(self.result.error["M"] if self.result.error else "connection closed")
            self.buffer += data
            self._read()
        return None if self.busy else self.result

    def wait(self, seconds=60):
        result = self.take(seconds)
        if result is None:
            raise Lost(f"no answer within {seconds} s")
        return result

    def run(self, statement):
        """The rows of a statement that has to succeed."""
        self.start(statement)
        result = self.wait()
        if result.error:
            raise RuntimeError(f"{result.code}: {result.error['M']}\n{statement}")
        return result.rows

    def value(self, statement):
        rows = self.run(statement)
        return rows[0][0] if rows else None

    def bye(self):
        try:
            self.sock.sendall(b"X\0\0\0\4")
        except OSError:
            pass

    def close(self):
        """Returns when the server's process is gone, and its counts are in the statistics."""
        self.bye()
        self.sock.settimeout(60)
        try:
            while self.sock.recv(1 << 18):
                pass
        except OSError:
            pass
        self.sock.close()

    def _read(self):
        while len(self.buffer) >= 5:
            length = struct.unpack_from("!i", self.buffer, 1)[0]
            if len(self.buffer) <= length:
                return
            kind, body = chr(self.buffer[0]), bytes(self.buffer[5:length + 1])
            del self.buffer[:length + 1]
            handler = getattr(self, f"_on_{kind}", None)
            if handler:
                handler(body)

    def _on_R(self, body):
        if struct.unpack_from("!i", body)[0] != 0:
            raise Lost("the server asks for a password")

    def _on_K(self, body):
        self.pid = struct.unpack_from("!i", body)[0]

    def _on_D(self, body):
        row, at = [], 2
        for _ in range(struct.unpack_from("!h", body)[0]):
            length = struct.unpack_from("!i", body, at)[0]
            at += 4
            row.append(None if length < 0 else body[at:at + length].decode())
            at += max(0, length)
        self.result.rows.append(row)

    def _on_C(self, body):
        self.result.tag = body.rstrip(b"\0").decode()

    def _on_E(self, body):
        self.result.error = fields(body)
        if self.result.error.get("V") == "FATAL":
            self.busy = True        # until the end of the connection

    def _on_N(self, body):
        self.notices.append(fields(body))

    def _on_Z(self, body):
        self.status = body.decode()
        self.busy = False


def fields(body):
    return {chr(part[0]): part[1:].decode() for part in body.split(b"\0") if part}


def quoted(value):
    """A literal; None is NULL."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
