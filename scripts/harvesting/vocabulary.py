"""What each token adds to a text, so that a list of ids can be shown as text.

    vocabulary.json   {"format": "sae-vocabulary", "version": 2,
                       "tokens": ["the", " cat", "<E6 9D>", "<B1>", "<4>", ...],
                       "bytes": {"2": "e69d", "3": "b1"}}

Entry i of tokens is the text of token i. A token that is no whole characters by itself has its bytes in
`bytes`, in hexadecimal, and in tokens a name to read: its whole characters, other bytes as <E6 9D>.
So the text of some tokens in a row is their bytes, for all others their text in UTF-8, joined and then
decoded. An id that no token has is named by its number, <4>. A vocabulary without any such bytes is of
version 1, which is all but the key.
"""

import re
from typing import NamedTuple

from harvesting import HarvestError

FORMAT = "sae-vocabulary"
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # as SentencePiece calls a byte


def numbered(token):
    return f"<{token}>"


def spelt(data):
    """Whole characters as they are, the bytes between them as <E6 9D>."""
    text = data.decode("utf-8", "surrogateescape")
    return re.sub(
        "[\udc80-\udcff]+", lambda m: f"<{' '.join(f'{ord(c) - 0xDC00:02X}' for c in m[0])}>", text
    )


class Vocabulary(NamedTuple):
    tokens: list  # text of each id
    bytes: dict  # of the ids that are no whole characters: {id: bytes}

    def bytes_of(self, token):
        return self.bytes[token] if token in self.bytes else self.tokens[token].encode()

    def text(self, ids):
        return spelt(b"".join(map(self.bytes_of, ids)))

    def at_least(self, size):
        """With numbers for names up to there."""
        more = [numbered(token) for token in range(len(self.tokens), size)]
        return Vocabulary(self.tokens + more, self.bytes) if more else self

    def as_json(self):
        json = {"format": FORMAT, "version": 2 if self.bytes else 1, "tokens": self.tokens}
        if self.bytes:
            json["bytes"] = {str(token): data.hex() for token, data in sorted(self.bytes.items())}
        return json

    @staticmethod
    def of_json(json, place):
        if not isinstance(json, dict) or json.get("format") != FORMAT:
            raise HarvestError(f"{place}: not a vocabulary: no format {FORMAT}")
        if json.get("version") not in (1, 2):
            raise HarvestError(f"{place}: version {json.get('version')}, expected 1 or 2")
        tokens, raw = json.get("tokens"), json.get("bytes") if json["version"] == 2 else {}
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise HarvestError(f"{place}: tokens is not a list of strings")
        try:
            parts = {int(token): bytes.fromhex(data) for token, data in raw.items()}
            known = all(0 <= token < len(tokens) for token in parts)
        except (AttributeError, TypeError, ValueError):
            known = False
        if not known:
            raise HarvestError(f'{place}: bytes is not {{"ID": "hexadecimal", ...}} of its tokens')
        return Vocabulary(tokens, parts)


# --- of a tokenizer ----------------------------------------------------------------------------


def byte_alphabet():
    """{character: byte} of byte-level tokenizers, as GPT-2 has them: printable bytes stand for
    themselves, the others are characters from U+0100 on, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}


def is_byte_level(tokenizer):
    """Asked of the decoder, whatever class the tokenizer is of."""
    return tokenizer.convert_tokens_to_string(["\u00c3\u00a9"]) == "\u00e9"  # C3 A9


def has_byte_pieces(tokenizer):
    return tokenizer.convert_tokens_to_string(["<0x41>"]) == "A"


def bytes_by_id(tokenizer, names):
    """The bytes of all tokens whose names are written in bytes. Not of those that were added, which
    are looked for in the text as they are."""
    if not is_byte_level(tokenizer):
        pieces = {t: BYTE_PIECE.fullmatch(name) for t, name in names.items()}
        known = has_byte_pieces(tokenizer)
        return {t: bytes.fromhex(piece[1]) for t, piece in pieces.items() if piece and known}
    alphabet = byte_alphabet()
    added = added_ids(tokenizer)
    return {
        token: name.encode()
        if token in added or not all(char in alphabet for char in name)
        else bytes(map(alphabet.get, name))
        for token, name in names.items()
    }


def added_ids(tokenizer):
    """Of the tokens that the tokenizer's model does not have."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    own = backend.get_vocab(with_added_tokens=False) if backend else {}
    return {t for t, token in tokenizer.added_tokens_decoder.items() if token.content not in own}


def decoded(tokenizer, sample, ids):
    """What each id adds to a text after another token, which keeps a blank before it."""
    anchor = sample[-1]
    alone = tokenizer.decode([anchor], clean_up_tokenization_spaces=False)
    pairs = [[anchor, token] for token in ids]
    for token, text in zip(ids, tokenizer.batch_decode(pairs, clean_up_tokenization_spaces=False)):
        if text.startswith(alone):
            yield token, text[len(alone) :]


def size_of(tokenizer, size):
    """How many tokens the vocabulary of a tokenizer has whose model knows `size`."""
    return max(size, max(tokenizer.get_vocab().values()) + 1)


def vocabulary_of(tokenizer, sample, size):
    """Of all ids that the tokenizer knows, and of those below `size`, which a model may know beside
    them. `sample` is the ids of any text."""
    ids = sorted(set(tokenizer.get_vocab().values()))
    names = dict(zip(ids, map(str, tokenizer.convert_ids_to_tokens(ids))))
    tokens = [names.get(token, numbered(token)) for token in range(size_of(tokenizer, size))]
    in_bytes = bytes_by_id(tokenizer, names)
    for token, data in in_bytes.items():
        tokens[token] = spelt(data)
    for token, text in decoded(tokenizer, sample, [t for t in ids if t not in in_bytes]):
        tokens[token] = text
    return Vocabulary(tokens, {t: data for t, data in in_bytes.items() if not is_text(data)})


def is_text(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
