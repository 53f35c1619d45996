"""Which models the double has: the families of both providers, with or without a date."""

from __future__ import annotations

import re
from typing import Final

_DATE: Final = r"(-\d{4}-\d{2}-\d{2}|-\d{4}|-latest)?"

CHAT: Final = re.compile(
    r"(gpt-3\.5-turbo|gpt-4|gpt-4-turbo|gpt-4o|gpt-4o-mini|gpt-4\.1|gpt-4\.1-mini|gpt-4\.1-nano"
    r"|gpt-5(\.\d)?(-mini|-nano|-pro)?|o1|o3|o3-mini|o4-mini)" + _DATE
)
COMPLETION: Final = re.compile(r"gpt-3\.5-turbo-instruct|davinci-002|babbage-002")
EMBEDDING: Final = re.compile(r"text-embedding-(3-small|3-large|ada-002)")
CLAUDE: Final = re.compile(
    r"claude-(opus|sonnet|haiku)-\d(-\d{1,2})?(-\d{8})?"
    r"|claude-3(-[57])?-(opus|sonnet|haiku)-(\d{8}|latest)"
)

DIMENSIONS: Final = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
"""Length of the vectors unless the request asks for fewer."""

OPENAI_LISTED: Final = (
    "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small",
    "text-embedding-3-large",
)  # fmt: skip
ANTHROPIC_LISTED: Final = ("claude-opus-4-5", "claude-sonnet-4-6", "claude-haiku-4-5")
"""What the lists of models show; the families hold more."""
