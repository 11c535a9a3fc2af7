"""A client that stores nothing: how fast the stub itself answers.

    bare.py URL RECEIVES COUNT DATASETS

Sends requests whose bytes are ready, over one connection for each receive, and only looks for where replies end.
"""

import json
import selectors
import socket
import sys
import time
from urllib.parse import urlsplit

USER = "5b0c7d1e-2f34-4a56-8b79-c0d1e2f3a4b5"


def sqs(action, body):
    text = json.dumps(body)
    return (f"POST / HTTP/1.1\r\nHost: bench\r\nX-Amz-Target: AmazonSQS.{action}\r\n"
            f"Content-Length: {len(text)}\r\n\r\n{text}").encode()


RECEIVE = sqs("ReceiveMessage", {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 0})
DATASET = f"GET /mobilesdk/stage/track/get_track/v1?trackToken={USER} HTTP/1.1\r\nHost: bench\r\nDeviceToken: {USER}\r\n\r\n".encode()


class Line:
    """A connection with one request under way."""

    def __init__(self, url):
        place = urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def send(self, request):
        self.data = b""
        self.socket.sendall(request)

    def reply(self):
        """The whole reply, or None if some of it is still to come."""
        self.data += self.socket.recv(1 << 20)
        head = self.data.find(b"\r\n\r\n")
        if head < 0:
            return None
        at = self.data.index(b"Content-Length: ") + 16
        length = int(self.data[at:self.data.index(b"\r", at)])
        return self.data[head + 4:] if len(self.data) == head + 4 + length else None


def run(url, lines, first, answer):
    """Sends `first` on each line, and what `answer` makes of each reply; None ends a line. Seconds."""
    selector = selectors.DefaultSelector()
    open_lines = [Line(url) for _ in range(lines)]
    began = time.time()
    for line in open_lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
        line.send(first)
    while selector.get_map():
        for key, _ in selector.select():
            reply = key.data.reply()
            if reply is None:
                continue
            request = answer(reply)
            if request is None:
                selector.unregister(key.fileobj)
            else:
                key.data.send(request)
    return time.time() - began


def drain(reply):
    """Deletes what was received, and receives again."""
    if reply.startswith(b'{"Messages"'):
        handles = [part[:part.index(b'"')].decode() for part in reply.split(b'"ReceiptHandle":"')[1:]]
        return sqs("DeleteMessageBatch", {"Entries": [{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles)]})
    return RECEIVE if reply.startswith(b'{"Successful"') else None


def main(url, receives, count, datasets):
    result = {"messages": int(count) / run(url, int(receives), RECEIVE, drain)}
    left = iter(range(int(datasets) - 8))
    result["datasets"] = int(datasets) / run(url, 8, DATASET, lambda _: DATASET if next(left, None) is not None else None)
    print(json.dumps(result))


main(*sys.argv[1:])
