"""A page as a browser's parser takes it, for tests without a browser."""

import html.parser


class Page(html.parser.HTMLParser):
    """A page as a browser's parser would take it: elements with attributes, text by element."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        while self.open and self.elements[self.open[-1]][0] != tag:
            self.open.pop()
        if self.open:
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            i = self.open[-1]
            self.texts[i] = self.texts.get(i, "") + data

    def all(self, tag, **attributes):
        """[(attributes, text)] of a tag with these attributes."""
        return [
            (attrs, self.texts.get(i, ""))
            for i, (name, attrs) in enumerate(self.elements)
            if name == tag and attributes.items() <= attrs.items()
        ]
