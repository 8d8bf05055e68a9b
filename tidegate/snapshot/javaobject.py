"""Java's object streams, read and written to the byte: the form of a checkpoint's properties (format 4 on).

No class is loaded and nothing runs: objects become plain values, and references stay numbers.

Source: Java Object Serialization Specification, chapter 6 (grammar of the stream).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tidegate.errors import SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor, i32_bytes, i64_bytes, utf_bytes

STREAM_HEADER: Final = b"\xac\xed\x00\x05"
_NULL, _REFERENCE, _CLASS_DESC, _OBJECT, _STRING, _ARRAY = 0x70, 0x71, 0x72, 0x73, 0x74, 0x75
_CLASS, _BLOCK, _END, _LONG_BLOCK, _LONG_STRING, _ENUM = 0x76, 0x77, 0x78, 0x7A, 0x7C, 0x7E
_BASE_HANDLE: Final = 0x7E0000
_WRITE_METHOD, _SERIALIZABLE, _EXTERNALIZABLE, _BLOCK_DATA = 0x01, 0x02, 0x04, 0x08
_FORMATS: Final = {"B": ">b", "C": ">H", "D": ">d", "F": ">f", "I": ">i", "J": ">q", "S": ">h", "Z": ">?"}
_MAX_DEPTH: Final = 32
_MAX_LINE: Final = 8


@dataclass(frozen=True, slots=True)
class JavaReference:
    """What was written before in this stream: ``number`` counts its objects, strings and classes from 0."""

    number: int


@dataclass(frozen=True, slots=True)
class JavaBlock:
    """Bytes that a class wrote by itself. ``long`` by an i32 length, else by a byte."""

    data: bytes
    long: bool


@dataclass(frozen=True, slots=True)
class JavaField:
    """A field of a class. ``type_name`` is the class's of an object or array (codes L and [)."""

    code: str
    name: str
    type_name: JavaText | JavaReference | None = None


@dataclass(frozen=True, slots=True)
class JavaText:
    """A string. ``long`` by an i64 length."""

    text: str


@dataclass(frozen=True, slots=True)
class JavaClass:
    """The description of a class, as the stream has it. ``parent``: its superclass, if that is serializable."""

    name: str
    version_uid: int
    flags: int
    fields: tuple[JavaField, ...]
    annotation: tuple[JavaValue, ...]
    parent: JavaClass | JavaReference | None


@dataclass(frozen=True, slots=True)
class JavaEnum:
    """A constant of an enum."""

    cls: JavaClass | JavaReference
    constant: JavaText | JavaReference


@dataclass(frozen=True, slots=True)
class JavaClassValue:
    """A class as a value."""

    cls: JavaClass | JavaReference | None


@dataclass(frozen=True, slots=True)
class JavaArray:
    """An array."""

    cls: JavaClass | JavaReference
    code: str
    values: tuple[JavaValue, ...]


@dataclass(frozen=True, slots=True)
class JavaPart:
    """What one class of an object's line has in it: the values of its fields, and what it wrote by itself."""

    values: tuple[JavaValue, ...]
    annotation: tuple[JavaValue, ...] | None


@dataclass(frozen=True, slots=True)
class JavaObject:
    """An object: a part for each class of its line, from the topmost superclass on; ``line`` are these classes."""

    cls: JavaClass | JavaReference
    parts: tuple[JavaPart, ...]
    line: tuple[JavaClass, ...]

    @property
    def class_name(self) -> str:
        """The name of its class."""
        return self.line[-1].name

    def fields(self) -> Iterator[tuple[str, JavaValue]]:
        """Each field by name."""
        for described, part in zip(self.line, self.parts, strict=True):
            yield from zip((field.name for field in described.fields), part.values, strict=True)


JavaValue = (
    bool
    | int
    | float
    | JavaText
    | JavaReference
    | JavaClass
    | JavaEnum
    | JavaArray
    | JavaObject
    | JavaClassValue
    | JavaBlock
    | None
)


class JavaReader:
    """Reads one object of a stream (ObjectInputStream.readObject). ``resolve`` follows references of what was read.

    Raises SnapshotUnreadable, and SnapshotUnsupported for what Flink has no use for (proxies, exceptions, resets).
    """

    def __init__(self, cursor: Cursor, what: str) -> None:
        self._cursor = cursor
        self._what = what
        self._known: list[JavaValue] = []
        self._depth = 0

    def read(self) -> JavaValue:
        """The stream's header and one object; the cursor stands behind it."""
        at = self._cursor.position
        expected = f"{self._what}, a Java object (ac ed 00 05)"
        if self._cursor.raw(4, expected) != STREAM_HEADER:
            raise self._cursor.error("no Java object", expected, at)
        return self._content()

    def resolve(self, value: JavaValue) -> JavaValue:
        """What a reference stands for; another value as it is."""
        return self._known[value.number] if isinstance(value, JavaReference) else value

    def _content(self) -> JavaValue:
        cursor, at = self._cursor, self._cursor.position
        tag = cursor.u8("a Java value")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise cursor.error("values too deep in each other", f"{_MAX_DEPTH} levels at most", at)
        try:
            return self._tagged(tag, at)
        finally:
            self._depth -= 1

    def _tagged(self, tag: int, at: int) -> JavaValue:
        cursor = self._cursor
        if tag == _NULL:
            return None
        if tag == _REFERENCE:
            number = cursor.i32("a reference") - _BASE_HANDLE
            if not 0 <= number < len(self._known):
                raise cursor.error(f"reference {number} of {len(self._known)}", "a reference to what came before", at)
            return JavaReference(number)
        if tag == _STRING:
            text = JavaText(cursor.utf("a Java string"))
            self._known.append(text)
            return text
        if tag == _CLASS_DESC:
            return self._class_desc()
        if tag == _OBJECT:
            return self._object()
        if tag == _ENUM:
            cls, _ = self._class("an enum's class")
            number = self._reserve()
            found = JavaEnum(cls, self._text("an enum's constant"))
            self._known[number] = found
            return found
        if tag == _ARRAY:
            return self._array()
        if tag == _CLASS:
            described = self._content()
            if not isinstance(described, JavaClass | JavaReference | None):
                raise cursor.error("no class", "the description of a class", at)
            value = JavaClassValue(described)
            self._known.append(value)
            return value
        if tag == _BLOCK:
            return JavaBlock(cursor.raw(cursor.u8("a block's length"), "a block"), long=False)
        if tag == _LONG_BLOCK:
            return JavaBlock(cursor.blob("a block"), long=True)
        if tag in (0x79, 0x7B, 0x7D, _LONG_STRING):
            raise SnapshotUnsupported(
                f"the Java object at the end of _metadata has a value of kind 0x{tag:02x} at byte "
                f"{cursor.origin + at:,}, which no properties of Flink have"
            )
        raise cursor.error(f"0x{tag:02x} begins no Java value", "a Java value", at)

    def _reserve(self) -> int:
        self._known.append(None)
        return len(self._known) - 1

    def _text(self, expected: str) -> JavaText | JavaReference:
        at = self._cursor.position
        found = self._content()
        if isinstance(self.resolve(found), JavaText) and isinstance(found, JavaText | JavaReference):
            return found
        raise self._cursor.error("no string", expected, at)

    def _class(self, expected: str) -> tuple[JavaClass | JavaReference, JavaClass]:
        at = self._cursor.position
        found = self._content()
        described = self.resolve(found)
        if isinstance(described, JavaClass) and isinstance(found, JavaClass | JavaReference):
            return found, described
        raise self._cursor.error("no class", expected, at)

    def _class_desc(self) -> JavaClass:
        cursor = self._cursor
        name, uid = cursor.utf("a class's name"), cursor.i64("a class's version uid")
        number = self._reserve()
        flags = cursor.u8("a class's flags")
        at = cursor.position
        count = cursor.i16("the number of a class's fields")
        if count < 0:
            raise cursor.error(f"{count} fields", "the number of a class's fields", at)
        fields = tuple(self._field() for _ in range(count))
        annotation = self._annotation()
        at = cursor.position
        parent = self._content()
        if parent is not None and not isinstance(self.resolve(parent), JavaClass):
            raise cursor.error("no class", "a superclass, or none", at)
        found = JavaClass(name, uid, flags, fields, annotation, parent)  # type: ignore[arg-type] # resolved above
        self._known[number] = found
        return found

    def _field(self) -> JavaField:
        cursor, at = self._cursor, self._cursor.position
        code = chr(cursor.u8("a field's type"))
        name = cursor.utf("a field's name")
        if code in _FORMATS:
            return JavaField(code, name)
        if code not in "[L":
            raise cursor.error(f"type {code!r}", "a field's type", at)
        return JavaField(code, name, self._text("the class of a field"))

    def _annotation(self) -> tuple[JavaValue, ...]:
        found: list[JavaValue] = []
        while True:
            if self._cursor.u8("a Java value, or 78") == _END:
                return tuple(found)
            self._cursor.position -= 1
            found.append(self._content())

    def _line(self, cls: JavaClass) -> tuple[JavaClass, ...]:
        line = [cls]
        while (parent := self.resolve(line[-1].parent)) is not None:
            if not isinstance(parent, JavaClass) or len(line) >= _MAX_LINE:
                raise self._cursor.error("too many superclasses", f"{_MAX_LINE} at most")
            line.append(parent)
        return tuple(reversed(line))

    def _object(self) -> JavaObject:
        cls, described = self._class("the class of an object")
        number = self._reserve()
        line = self._line(described)
        parts = tuple(self._part(each) for each in line)
        found = JavaObject(cls, parts, line)
        self._known[number] = found
        return found

    def _part(self, cls: JavaClass) -> JavaPart:
        if cls.flags & _SERIALIZABLE:
            values = tuple(self._value(field.code) for field in cls.fields)
            return JavaPart(values, self._annotation() if cls.flags & _WRITE_METHOD else None)
        if cls.flags & _EXTERNALIZABLE and cls.flags & _BLOCK_DATA:
            return JavaPart((), self._annotation())
        raise self._cursor.error(f"class {cls.name} has flags {cls.flags}", "a serializable class")

    def _value(self, code: str) -> JavaValue:
        form = _FORMATS.get(code)
        if form is None:
            return self._content()
        at = self._cursor.position
        raw = self._cursor.raw(struct.calcsize(form), "a value")
        if code == "Z" and raw[0] > 1:
            raise self._cursor.error(f"{raw[0]}", "0 or 1", at)
        (value,) = struct.unpack(form, raw)
        return value  # type: ignore[no-any-return]

    def _array(self) -> JavaArray:
        cls, described = self._class("the class of an array")
        number = self._reserve()
        code = described.name[1:2]
        if code not in _FORMATS and code not in ("[", "L"):
            raise self._cursor.error(f"class {described.name!r}", "the class of an array")
        item_bytes = struct.calcsize(_FORMATS[code]) if code in _FORMATS else 1
        count = self._cursor.count("values of an array", item_bytes)
        found = JavaArray(cls, code, tuple(self._value(code) for _ in range(count)))
        self._known[number] = found
        return found


def java_bytes(value: JavaValue) -> bytes:
    """The stream of one object (ObjectOutputStream.writeObject). References are written as they are."""
    out = bytearray(STREAM_HEADER)
    _write(out.extend, value)
    return bytes(out)


def _write(out: Callable[[bytes], None], value: JavaValue) -> None:
    if value is None:
        out(bytes([_NULL]))
    elif isinstance(value, JavaReference):
        out(bytes([_REFERENCE]) + i32_bytes(_BASE_HANDLE + value.number))
    elif isinstance(value, JavaText):
        out(bytes([_STRING]) + utf_bytes(value.text))
    elif isinstance(value, JavaBlock):
        length = i32_bytes(len(value.data)) if value.long else bytes([len(value.data)])
        out(bytes([_LONG_BLOCK if value.long else _BLOCK]) + length + value.data)
    elif isinstance(value, JavaClass):
        out(bytes([_CLASS_DESC]) + utf_bytes(value.name) + i64_bytes(value.version_uid) + bytes([value.flags]))
        out(struct.pack(">h", len(value.fields)))
        for field in value.fields:
            out(field.code.encode("ascii") + utf_bytes(field.name))
            if field.type_name is not None:
                _write(out, field.type_name)
        _write_annotation(out, value.annotation)
        _write(out, value.parent)
    elif isinstance(value, JavaEnum):
        out(bytes([_ENUM]))
        _write(out, value.cls)
        _write(out, value.constant)
    elif isinstance(value, JavaClassValue):
        out(bytes([_CLASS]))
        _write(out, value.cls)
    elif isinstance(value, JavaArray):
        out(bytes([_ARRAY]))
        _write(out, value.cls)
        out(i32_bytes(len(value.values)))
        for item in value.values:
            _write_field(out, value.code, item)
    elif isinstance(value, JavaObject):
        out(bytes([_OBJECT]))
        _write(out, value.cls)
        for cls, part in zip(value.line, value.parts, strict=True):
            for field, item in zip(cls.fields if part.values else (), part.values, strict=True):
                _write_field(out, field.code, item)
            if part.annotation is not None:
                _write_annotation(out, part.annotation)
    else:
        raise ValueError(f"{value!r} is no value by itself in an object stream")


def _write_annotation(out: Callable[[bytes], None], annotation: tuple[JavaValue, ...]) -> None:
    for value in annotation:
        _write(out, value)
    out(bytes([_END]))


def _write_field(out: Callable[[bytes], None], code: str, value: JavaValue) -> None:
    form = _FORMATS.get(code)
    if form is None:
        _write(out, value)
    else:
        out(struct.pack(form, value))
