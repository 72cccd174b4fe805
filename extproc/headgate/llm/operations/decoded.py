"""What whole chat answers say of themselves in dialects whose usage Envoy reads: their dialect decodes them."""

from headgate.llm.dialects.dialect import NO_MEMO
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.marks import NO_MARKS, Marks, marks_of
from headgate.llm.names import DialectName
from headgate.llm.usage import NO_USAGE, Usage


class DecodedMarks:
    """No usage: it would be told twice."""

    usage: Usage = NO_USAGE
    response_model = ""

    __slots__ = ("_dialect", "marks")

    def __init__(self, dialect: DialectName) -> None:
        self._dialect = DIALECTS[dialect]
        self.marks: Marks = NO_MARKS

    def read(self, data: bytes) -> None:
        """A whole answer."""
        self.marks = marks_of(self._dialect.decode_response(data, NO_MEMO))

    def is_wanted(self, data: bytes) -> bool:
        """Streams are read by `Overheard`."""
        del data
        return False
