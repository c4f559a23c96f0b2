"""Which encoding a text is in. Chinese text comes in half a dozen, and few files say which."""

from __future__ import annotations

import codecs

from llm.documents.errors import WrongEncoding

ENCODINGS = ("utf-8", "gb18030", "big5hkscs", "utf-16", "utf-16-le", "utf-16-be", "shift_jis", "euc_kr", "cp1252")
"""What can be chosen where the guess is wrong."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMON = frozenset(
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用发天如然作方成者多日都三小军二"
    "無同麼經法當起與好看學進種將還分此心前面又定見只主沒公從這個為來們說國時會後對裡過發樣兩實現開問間頭機業電動長門車東書員點氣話體"
    "第章节節条條款号號月日版本文件资料資料公司系统系統产品產品使用设备設備管理信息資訊数据數據工作单位單位名称名稱编号編號姓名地址电话北京上海"
    "，。、；：？！“”（）《》「」"
)
"""Characters so usual that text read in the wrong encoding has hardly any of them."""
_SAMPLE = 1 << 16


def decoded(data: bytes, name: str, encoding: str = "") -> tuple[str, str]:
    """The text of bytes and the encoding that it is in: asked for, marked, UTF-8, or the most plausible one.

    Raises:
        WrongEncoding: it is not text in the encoding asked for, or in any.
    """
    if not encoding:
        encoding = next((known for mark, known in _MARKS if data.startswith(mark)), "")
    if encoding:
        try:
            return data.decode(encoding).lstrip("\ufeff"), encoding
        except (UnicodeDecodeError, LookupError) as error:
            raise WrongEncoding(name=name, encoding=encoding) from error
    found = _guessed(data)
    if not found:
        raise WrongEncoding(name=name, encoding="UTF-8, GB18030, Big5")
    return data.decode(found), found


def _guessed(data: bytes) -> str:
    """The encoding in which all of it can be read and which gives the most usual characters; empty if none."""
    if _readable(data, "utf-8") and b"\0" not in data:
        return "utf-8"
    wide = b"\0" in data
    candidates = ("utf-16-le", "utf-16-be") if wide else ("gb18030", "big5hkscs", "shift_jis", "euc_kr", "cp1252")
    scores = {encoding: _plausible(data[:_SAMPLE], encoding) for encoding in candidates if _readable(data, encoding)}
    best = max(scores, key=lambda encoding: scores[encoding], default="")
    return best if best and (not wide or scores[best] > 0) else ""


def _readable(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _plausible(sample: bytes, encoding: str) -> float:
    """How usual the characters beyond ASCII are, from -1 to 1."""
    text = sample.decode(encoding, errors="ignore")
    beyond = [character for character in text if character > "\x7f"]
    if not beyond:
        printable = sum(character.isprintable() or character in "\n\r\t" for character in text)
        return printable / len(text) - 0.5 if text else -1.0
    hangul = sum(_is_hangul(character) for character in beyond)
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in beyond)
    # Korean is hardly written with Chinese characters any more; a mixture is what Chinese looks like in EUC-KR.
    mixed = hangul if chinese > 0.1 * hangul else 0
    return (sum(map(_usual, beyond)) - 0.5 * mixed) / len(beyond)


def usual_share(text: str) -> float | None:
    """Which share of the Chinese characters is of the most usual ones; None if there are too few to tell."""
    chinese = [character for character in text if "\u3400" <= character <= "\u9fff"]
    return sum(character in _COMMON for character in chinese) / len(chinese) if len(chinese) >= 40 else None


def _is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3"


def _usual(character: str) -> float:
    if character in _COMMON:
        return 1.0
    if "\u3041" <= character <= "\u30fe":  # kana; half-width ones are what Chinese looks like in Shift-JIS
        return 0.8
    if _is_hangul(character):
        return 0.3
    if "\u4e00" <= character <= "\u9fff":
        return 0.1
    if "\u00c0" <= character <= "\u024f" and character.isalpha():
        return 0.2
    return -1.0 if "\ue000" <= character <= "\uf8ff" or character < "\xa0" else -0.2
