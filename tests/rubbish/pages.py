"""What a page of the dashboard may have in it, whatever is in the database."""

from html.parser import HTMLParser

# What a browser would run, load or be led away by. The one script of the dashboard is let through.
_FORBIDDEN = {
    "img",
    "iframe",
    "object",
    "embed",
    "style",
    "base",
    "audio",
    "video",
    "template",
    "applet",
}

_ADDRESSES = {"href", "src", "action", "formaction", "xlink:href", "poster", "data"}

# What turns the direction of writing until it is taken back, of the text of the page as well.
_TURNS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _FORBIDDEN:
            self.wrong.append(f"<{tag}>")
        if tag == "script":
            self.scripts.append(dict(attrs).get("src") or "inline")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name in _ADDRESSES and not (value or "").startswith(("/", "#", "?")):
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name in _ADDRESSES and (value or "").startswith(("//", "/\\")):
                self.wrong.append(f"<{tag} {name}={value!r}>")

    def handle_data(self, data: str) -> None:
        if turns := _TURNS & set(data):
            self.wrong.append(f"{turns!a} in {data[:100]!a}")


def check_page(text: str) -> None:
    """Nothing in it that a browser obeys, but for what the dashboard itself has put there."""
    page = _Page()
    page.feed(text)
    scripts = [script.partition("?")[0] for script in page.scripts]
    assert not page.wrong, page.wrong
    assert scripts == ["/static/dashboard.js"], scripts
