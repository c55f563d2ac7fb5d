"""Files of web servers: GET by byte range, valid only while the file is the same. Needs nothing but Python."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import time
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from toolchain.acquire.stores import CHUNK_BYTES, Interrupted, Stream, refused
from toolchain.errors import DataError

KEYS = ("username", "password", "token", "ca_file")
SLOWEST_BYTES = 1024
"""What must come in within each time-out."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server elsewhere, but never from TLS to none, and without credentials to another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request that takes the place of one."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise HTTPError(newurl, code, f"it leads to {new.scheme}://", headers, fp)
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            made.remove_header("Authorization")
        return made


class WebStore:
    """Web servers, with the credentials of one source."""

    def __init__(self, name: str, options: Mapping[str, object], timeout_s: float) -> None:
        """Raises DataError E212 for options that it does not take."""
        self._name, self._timeout_s = name, timeout_s
        for key, value in options.items():
            if key not in KEYS or not isinstance(value, str):
                raise DataError(212, name, f"option '{key}' is none of a web server", f"Use: {', '.join(KEYS)}")
        given = {key: str(value) for key, value in options.items()}
        self._headers = {"User-Agent": "strop", "Accept-Encoding": "identity"}
        if given.get("token"):
            self._headers["Authorization"] = f"Bearer {given['token']}"
        elif given.get("username"):
            pair = f"{given['username']}:{given.get('password', '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        try:
            context = ssl.create_default_context(cafile=given.get("ca_file"))
        except (OSError, ssl.SSLError) as fault:
            raise DataError(212, name, f"ca_file cannot be used: {fault!s:.100}", "Give a file in PEM") from fault
        self._opener = urllib.request.build_opener(_Redirects(), urllib.request.HTTPSHandler(context=context))

    @contextmanager
    def stream(self, url: str, offset: int, version: str) -> Generator[Stream]:
        """As of Store. A weak ETag does not tell whether bytes are the same, so it is left out."""
        answer = self._answer(url, offset, version)
        with answer:
            start, size = 0, _number(answer.headers.get("Content-Length"))
            told = _version(answer.headers, size)
            if answer.status == 206:
                part = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if part is None or int(part[1]) != offset:
                    raise refused(self._name, url, f"answers a range with {answer.headers.get('Content-Range')!r:.60}")
                start, size = offset, int(part[2])
                told = _same(version, _version(answer.headers, size))
            elif answer.status != 200:
                raise refused(self._name, url, f"answers with status {answer.status}")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise refused(self._name, url, "is sent in another encoding than asked for")
            yield Stream(start, size, told, self._chunks(url, answer))

    def _answer(self, url: str, offset: int, version: str) -> Any:
        headers = dict(self._headers)
        if offset:
            headers["Range"] = f"bytes={offset}-"
            known = json.loads(version) if version else {}
            if validator := known.get("etag") or known.get("modified"):
                headers["If-Range"] = validator
        with self._faults(url):
            try:
                return self._opener.open(urllib.request.Request(url, headers=headers), timeout=self._timeout_s)
            except HTTPError as fault:
                with fault:
                    if fault.code == 416 and offset:
                        return self._opener.open(urllib.request.Request(url, headers=self._headers), timeout=self._timeout_s)
                raise

    def _chunks(self, url: str, answer: Any) -> Iterator[bytes]:
        since, came = time.monotonic(), 0
        while True:
            with self._faults(url):
                chunk = answer.read1(CHUNK_BYTES)
            if not chunk:
                return
            came += len(chunk)
            if time.monotonic() - since > self._timeout_s:
                if came < SLOWEST_BYTES:
                    raise Interrupted(f"it sent {came:,} B in {self._timeout_s:g} s")
                since, came = time.monotonic(), 0
            yield chunk

    @contextmanager
    def _faults(self, url: str) -> Generator[None]:
        try:
            yield
        except HTTPError as fault:
            if fault.code in (401, 403):
                hint = "Give username and password_file, or token_file, in options, or the environment's, see docs/data.md"
                raise refused(self._name, url, f"may not be read, status {fault.code}", hint) from fault
            if fault.code in _AGAIN:
                raise Interrupted(f"status {fault.code}") from fault
            raise refused(self._name, url, f"answers with status {fault.code}: {fault.reason!s:.80}", "Mend the url") from fault
        except (OSError, http.client.HTTPException) as fault:
            reason = getattr(fault, "reason", fault)
            if isinstance(reason, ssl.SSLCertVerificationError):
                hint = "Name the authority that signed it as ca_file in options"
                raise refused(self._name, url, f"is not trusted: {reason.verify_message}", hint) from fault
            raise Interrupted(f"{reason!s:.160}" or type(reason).__name__) from fault
        except ValueError as fault:
            raise refused(self._name, url, f"cannot be asked for: {fault!s:.100}", "Mend the url") from fault


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def _version(headers: Any, size: int | None) -> str:
    """Validators of an answer, and the file's size."""
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    told = {"etag": "" if etag.startswith("W/") else etag, "modified": modified, "size": size}
    return json.dumps({key: value for key, value in told.items() if value not in ("", None)}, sort_keys=True)


def _same(version: str, told: str) -> str:
    """The version asked for, where nothing that a range's answer tells contradicts it: it need not tell all."""
    wanted = json.loads(version) if version else {}
    return version if all(wanted.get(key) == value for key, value in json.loads(told).items()) else told
