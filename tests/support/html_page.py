"""HTML taken apart, strictly enough that an unbalanced or unescaped piece is seen."""

from html.parser import HTMLParser

VOID = {"meta", "input", "br", "col"}


class Page(HTMLParser):
    """A page taken apart: its elements, its texts by element; unbalanced tags are an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def text_of(self, tag):
        return [text for name, text in self.texts if name == tag]
