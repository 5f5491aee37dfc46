"""Refusals as the Hub forms them."""

from __future__ import annotations

from m3leo_prep.testing.answers import Answer, to_json


class Refused(Exception):
    """An error that the Hub answers, with what its client reads from the headers."""

    def __init__(self, status: int, text: str, code: str = "", **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = {"X-Error-Message": text} | ({"X-Error-Code": code} if code else {}) | headers

    def answer(self) -> Answer:
        """Return it as an answer."""
        return to_json({"error": self.text}, self.status, **self.headers)
