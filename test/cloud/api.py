"""Damoov's download addresses: datasets by kind and id, for the token of their owner."""

import gzip
import json
import re
import time
import zlib
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, unquote

import faults
from wire import Reply, chunk, chunked, in_chunks, sized, until_close

ADDRESSES = [
    ("raw", re.compile(r"/mobilesdk/incoming/incoming/tracks/received/([^/]+)/v1/?")),
    ("removed", re.compile(r"/mobilesdk/incoming/incoming/tracks/removed/([^/]+)/v1/?")),
    ("crash", re.compile(r"/api/drivingevents/get/v1/Accidents/received/([^/]+)", re.I)),
    ("crash_buffer", re.compile(r"/api/drivingevents/get/v1/Accidents/extras/received/([^/]+)", re.I)),
]
GET_TRACK = "/mobilesdk/stage/track/get_track/v1"
GET_TRACKS = "/mobilesdk/stage/track/get_tracks/v1"
KINDS = ("processed", "raw", "removed", "crash", "crash_buffer")
JSON = ("Content-Type", "application/json; charset=utf-8")
COMMON = [("Vary", "Accept-Encoding"), ("Server", "cloudflare"), ("EnableTracking", "True"),
          ("EnableRealTimeLocation", "False"), ("EnableLogging", "False"),
          ("Set-Cookie", "ARRAffinity=5f1d7c; HttpOnly; Path=/")]
GZIP = ("Content-Encoding", "gzip")
MEBIBYTE = 1024 * 1024


class Dataset:
    """A document as it goes over the wire, compressed once when it is registered."""

    def __init__(self, device_token, body):
        self.device_token = device_token.lower()
        self.body = body
        self.gzipped = gzip.compress(body, compresslevel=6, mtime=0)
        self.chunks = in_chunks(body)
        self.gzipped_chunks = in_chunks(self.gzipped)


class Api:
    def __init__(self, fault_book, clock=time.time):
        self.faults = fault_book
        self.clock = clock
        self.datasets = {}
        self.page_limit = 1000     # no page of a list is longer, whatever is asked for

    def put(self, kind, object_id, device_token, body):
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind}")
        self.datasets[kind, object_id.lower()] = Dataset(device_token, body)

    def claims(self, request):
        return locate(request) is not None

    def answer(self, request):
        kind, object_id = locate(request)
        request.record["target"] = kind
        request.record["object_id"] = object_id
        request.record["device_token"] = request.header("devicetoken")
        fault = self.faults.take("api", (object_id, kind))
        if fault:
            return self._misbehave(fault, request, kind, object_id)
        return self._deliver(request, kind, object_id)

    def _deliver(self, request, kind, object_id):
        if kind == "listing":
            return self._list(request)
        dataset, refusal = self._find(request, kind, object_id)
        return refusal or framed_in_chunks(request, dataset)

    def _list(self, request):
        """A page of the person's processed tracks, by their start, without their points."""
        token = request.header("devicetoken")
        query = {name.lower(): value for name, value in parse_qsl(request.query, keep_blank_values=True)}
        try:
            start, end = (datetime.fromisoformat(query[name].replace("Z", "+00:00")) for name in ("startdate", "enddate"))
            page, size = int(query["pagenumber"]), int(query["pagesize"])
        except (KeyError, ValueError):
            return plain(400)
        if request.method != "GET":
            return plain(405)
        if not token:
            return plain(401)
        # the vendor's client asks for no more than 14 days
        if page < 0 or size < 0 or start.tzinfo is None or end - start > timedelta(days=14):
            return plain(400)
        tracks = []
        for (kind, object_id), dataset in self.datasets.items():
            if kind != "processed" or dataset.device_token != token.lower():
                continue
            track = {name: value for name, value in json.loads(dataset.body)["Result"]["Track"].items() if name != "Points"}
            started = track.get("StartDate")
            if started and start <= datetime.fromisoformat(started) < end:
                tracks.append({"TrackToken": object_id, **track})
        tracks.sort(key=lambda track: (datetime.fromisoformat(track["StartDate"]), track["TrackToken"]))
        size = min(size or len(tracks), self.page_limit)
        if size:
            tracks = tracks[page * size:(page + 1) * size]
        body = json.dumps({"Result": {"Tracks": tracks, "Code": 200}}).encode()
        return framed_in_chunks(request, Dataset(token, body))

    def _find(self, request, kind, object_id):
        """The dataset, or the reply that says why not."""
        token = request.header("devicetoken")
        dataset = self.datasets.get((kind, object_id))
        if request.method != "GET":
            return None, plain(405)
        if not token:
            return None, plain(401)
        if not dataset:
            return None, plain(404)
        return (None, plain(401)) if token.lower() != dataset.device_token else (dataset, None)

    def _misbehave(self, fault, request, kind, object_id):
        if fault.mode in faults.WAYS:
            return faults.WAYS[fault.mode](fault, request, lambda: self._deliver(request, kind, object_id))
        if fault.mode in INSTEAD:
            return INSTEAD[fault.mode](fault, self.clock())
        if kind == "listing":
            return self._list(request)
        dataset, refusal = self._find(request, kind, object_id)
        return refusal or FRAMED[fault.mode](fault, request, dataset)


def locate(request):
    """(kind, id in lower case) of a download address; None for any other path."""
    if request.path.rstrip("/") == GET_TRACKS:
        return "listing", (request.header("devicetoken") or "").lower()
    if request.path.rstrip("/") == GET_TRACK:
        query = {name.lower(): value for name, value in parse_qsl(request.query, keep_blank_values=True)}
        return "processed", query.get("tracktoken", "").lower()
    for kind, address in ADDRESSES:
        if match := address.fullmatch(request.path):
            return kind, unquote(match[1]).lower()
    return None


def takes_gzip(request):
    offers = [offer.split(";") for offer in (request.header("accept-encoding") or "").lower().split(",")]
    return any(coding.strip() == "gzip" and not re.fullmatch(r"\s*q=0(\.0*)?\s*", "".join(weight))
               for coding, *weight in offers)


def plain(status, headers=(), body=b""):
    return sized(status, [("Code", status), *COMMON, *headers], body)


def framed_in_chunks(request, dataset):
    """How the real servers answer: compressed when that is offered, never with a length."""
    if takes_gzip(request):
        return chunked(200, [("Code", 200), JSON, GZIP, *COMMON], [dataset.gzipped_chunks])
    return chunked(200, [("Code", 200), JSON, *COMMON], [dataset.chunks])


# ---- faults: other framings of the right document -----------------------------------------------

def content_length(fault, request, dataset):
    return plain(200, [JSON], dataset.body)


def close_delimited(fault, request, dataset):
    return until_close(200, [("Code", 200), JSON, *COMMON], dataset.body)


def short_length(fault, request, dataset):
    """A Content-Length larger than what comes."""
    return faults.truncate(fault, request, lambda: content_length(fault, request, dataset))


def wrong_encoding(fault, request, dataset):
    """Plain JSON under the name of a coding."""
    return plain(200, [JSON, ("Content-Encoding", fault.encoding or "gzip")], dataset.body)


FRAMED = {"content_length": content_length, "close_delimited": close_delimited,
          "short_length": short_length, "wrong_encoding": wrong_encoding}


# ---- faults: something else instead of the document ---------------------------------------------

def status(fault, now):
    headers = [("Content-Type", fault.content_type or JSON[1]), *faults.retry_after(fault, now)]
    return plain(fault.number("status", 500), headers, (fault.body or "").encode())


def redirect(fault, now):
    return plain(fault.number("status", 302), [("Location", fault.location)])


def result_code(fault, now):
    return plain(200, [JSON], b'{"Result":{"Code":%d}}' % fault.number("code", 500))


def endless(fault, now):
    """Well-formed JSON whose end never comes."""
    def chunks():
        yield chunk(b'{"Result":{"Track":{"DrivingTips":"')
        piece = chunk(b"x" * 64 * 1024)
        while True:
            yield piece
    return chunked(200, [("Code", 200), JSON, *COMMON], chunks(), keep=False)


def bomb(fault, now):
    """A few hundred kilobytes that expand a thousandfold."""
    def chunks():
        packer = zlib.compressobj(9, wbits=31)
        for _ in range(fault.number("megabytes", 512)):
            if packed := packer.compress(b" " * MEBIBYTE):
                yield chunk(packed)
        yield chunk(packer.flush()) + b"0\r\n\r\n"
    return Reply(200, [("Code", 200), JSON, GZIP, *COMMON, ("Transfer-Encoding", "chunked")], chunks())


INSTEAD = {"status": status, "redirect": redirect, "result_code": result_code, "endless": endless, "bomb": bomb}
MODES = {*faults.WAYS, *FRAMED, *INSTEAD}
