"""Checks of tools and names that both wire formats share."""

from __future__ import annotations

import re

from cloud_bridge.protocol.conversation import Tool, ToolChoice
from cloud_bridge.protocol.fields import Fields, invalid

MAX_TOOLS = 128
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def tool_name(fields: Fields) -> str:
    """The field `name` of a tool or a schema. These are not masked, so they must be plain identifiers."""
    name = fields.required_text("name")
    if not _TOOL_NAME.fullmatch(name):
        raise invalid(fields.at("name"), "must be 1 to 128 letters, digits, dots, dashes or underscores")
    return name


def check_tools(tools: tuple[Tool, ...], choice: ToolChoice) -> None:
    """Raise InvalidRequest for too many tools, for twins, and for a demand that no tool can meet."""
    if len(tools) > MAX_TOOLS:
        raise invalid("tools", f"holds {len(tools)} items; at most {MAX_TOOLS} are allowed")
    names = {tool.name for tool in tools}
    if len(names) < len(tools):
        raise invalid("tools", "holds two tools of one name")
    if choice.mode == "required" and not tools:
        raise invalid("tool_choice", "demands a tool, and 'tools' is empty")
    if choice.mode == "named" and choice.name not in names:
        raise invalid("tool_choice", "names a tool that is not in 'tools'")
