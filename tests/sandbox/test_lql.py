"""The Logging query language as tables: filter, entry, answer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.layout import REPOSITORY
from sandbox.lql import LONGEST, FilterError, parse

FILTERS = REPOSITORY / "modules" / "usage-warehouse" / "filters"

ENTRY: dict[str, Any] = {
    "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
    "insertId": "a-1",
    "severity": "WARNING",
    "timestamp": "2026-03-01T12:00:00.500000Z",
    "resource": {
        "type": "cloud_run_revision",
        "labels": {"service_name": "tallygate-proxy", "project_id": "p"},
    },
    "labels": {"instanceId": "proxy-0", "k8s-pod/app": "router"},
    "trace": "projects/p/traces/abc",
    "traceSampled": True,
    "httpRequest": {
        "status": 503,
        "requestSize": "12",
        "latency": "1.25s",
        "requestUrl": "https://x/v1/chat",
    },
    "jsonPayload": {
        "event": "llm_usage",
        "total_tokens": 120.0,
        "stream": True,
        "nothing": None,
        "note": 'say "Hi"',
        "path": "C:\\temp",
        "error": {"kind": "Timeout", "codes": [502.0, 504.0]},
        "choices": [{"name": "first"}, {"name": "second"}],
        "odd key": "odd",
    },
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", True),
        ("  -- nothing but a comment", True),
        # text: equal and has, without regard to case
        ('resource.type="cloud_run_revision"', True),
        ('resource.type="CLOUD_RUN_REVISION"', True),
        ("resource.type=cloud_run_revision", True),
        ("resource.type='cloud_run_revision'", True),
        ('resource.type="cloud_run"', False),
        ('resource.type:"Cloud_Run"', True),
        ('resource.type!="gae_app"', True),
        ('resource.type!="cloud_run_revision"', False),
        ('insertId>"a-0" insertId<"a-2"', True),
        # log ids
        ('log_id("run.googleapis.com/stdout")', True),
        ('log_id("run.googleapis.com%2Fstdout")', True),
        ('log_id("run.googleapis.com/stderr")', False),
        ('log_id("stdout")', False),
        ('logName="projects/p/logs/run.googleapis.com%2Fstdout"', True),
        # boolean operators: NOT, then OR, then AND
        ('insertId="a-1" AND traceSampled=true', True),
        ('insertId="a-1" traceSampled=false', False),
        ('insertId="a-1"\nseverity=WARNING', True),
        ('insertId="x" OR insertId="a-1" AND severity=INFO', False),
        ('severity=WARNING OR severity=INFO AND insertId="x"', False),
        ('severity=WARNING OR (severity=INFO AND insertId="x")', True),
        ('NOT insertId="x" AND severity=WARNING', True),
        ('NOT insertId="a-1" OR severity=WARNING', True),
        ('NOT (insertId="a-1" OR severity=INFO)', False),
        ('-insertId="x"', True),
        ('-insertId="a-1"', False),
        ('insertId="a-1" -severity=INFO', True),
        ("insertId=(a-1 OR a-2)", True),
        ("insertId=(x OR y)", False),
        ('resource.type=("gae_app" OR "cloud_run_revision") AND severity=(INFO OR WARNING)', True),
        ("jsonPayload.event:(llm AND usage)", True),
        ("jsonPayload.event:(llm NOT usage)", False),
        # severities are ordered
        ("severity>=WARNING", True),
        ('severity>="warning"', True),
        ("severity>WARNING", False),
        ("severity<ERROR", True),
        ("severity=400", True),
        ("severity!=INFO", True),
        # timestamps
        ('timestamp>="2026-03-01T12:00:00Z"', True),
        ('timestamp>"2026-03-01T12:00:01Z"', False),
        ('timestamp<"2026-03-01T14:00:01+01:00"', True),
        ('timestamp="2026-03-01T12:00:00.5Z"', True),
        ("timestamp>=2026-03-01 timestamp<2026-03-02", True),
        # numbers, bools, durations
        ("httpRequest.status>=500 AND httpRequest.status<600", True),
        ('httpRequest.status="503"', True),
        ("httpRequest.requestSize>9", True),
        ("httpRequest.latency>1s", True),
        ("httpRequest.latency<1250ms", False),
        ("jsonPayload.total_tokens=120", True),
        ("jsonPayload.total_tokens>1e2", True),
        ('jsonPayload.total_tokens="many"', False),
        ('jsonPayload.total_tokens!="many"', False),
        ("jsonPayload.stream=true", True),
        ("jsonPayload.stream=TRUE", True),
        ("jsonPayload.stream!=false", True),
        ("jsonPayload.stream>false", False),
        ("traceSampled=true", True),
        # nested fields, quoted keys, lists
        ('jsonPayload.error.kind="timeout"', True),
        ("jsonPayload.error.codes=504", True),
        ("jsonPayload.error.codes=500", False),
        ("jsonPayload.choices.name=second", True),
        ('jsonPayload."odd key"=odd', True),
        ('labels."k8s-pod/app"=router', True),
        ("labels.instanceId=proxy-0", True),
        ("jsonPayload:timeout", True),
        ("jsonPayload.error:kind", True),
        ("jsonPayload.error=Timeout", False),
        ("labels:router", True),
        # presence, and what is missing or has a default
        ("jsonPayload.event:*", True),
        ("jsonPayload.lost:*", False),
        ("jsonPayload.nothing:*", False),
        ("NOT jsonPayload.lost:*", True),
        ("textPayload:*", False),
        ("labels:*", True),
        ("operation:*", False),
        ('jsonPayload.lost="x"', False),
        ('jsonPayload.lost!="x"', False),
        ('NOT jsonPayload.lost="x"', True),
        ('labels.lost!="x"', False),
        ('spanId=""', True),
        ('spanId!="x"', True),
        ("sourceLocation.line=0", True),
        ("httpRequest.cacheHit=false", True),
        ('receiveTimestamp>"2000-01-01"', False),
        # regular expressions: with regard to case, anywhere in the text
        ('jsonPayload.event=~"^llm_"', True),
        ('jsonPayload.event=~"USAGE"', False),
        ('jsonPayload.event=~"(?i)USAGE"', True),
        ('jsonPayload.event!~"^llm_admit$"', True),
        ('jsonPayload.lost!~"x"', False),
        ('jsonPayload.total_tokens=~"120"', False),
        ('httpRequest.requestUrl=~"/v1/\\w+$"', True),
        # quoting and comments
        ('jsonPayload.note="say \\"Hi\\""', True),
        ('jsonPayload.path="C:\\\\temp"', True),
        ('jsonPayload.event="llm\\u005Fusage"', True),
        ('insertId="a-1" -- AND severity=INFO\nAND severity=WARNING', True),
        ('insertId="-- no comment"', False),
    ],
)
def test_a_filter_takes_or_leaves_an_entry(text: str, answer: bool) -> None:
    assert parse(text).matches(ENTRY) is answer


def test_an_entry_without_severity_has_the_lowest() -> None:
    assert parse("severity=DEFAULT AND severity<DEBUG").matches({})


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("thud=1", 1, 1, "LogEntry has no field 'thud'"),
        ('resource.kind="x"', 1, 10, "LogEntry has no field 'resource.kind'"),
        ('resource.labels.a.b="x"', 1, 19, "no field"),
        ("textPayload.thud=1", 1, 13, "no field 'textPayload.thud'"),
        ('insertId="a"\nAND\n  sevrity=INFO', 3, 3, "no field 'sevrity'"),
        ('insertId="a" and severity=INFO', 1, 14, "write AND in capitals"),
        ('"just text"', 1, 1, "text without a field"),
        ("robot", 1, 6, "expected an operator after 'robot', found the end"),
        ("insertId", 1, 9, "expected an operator"),
        ("insertId=", 1, 10, "expected a value, found the end"),
        ("insertId==a", 1, 10, "expected a value, found '='"),
        ('insertId="a', 1, 10, "not closed"),
        ("insertId=abc:def", 1, 13, "':'"),
        ('(insertId="a"', 1, 1, "not closed"),
        ('insertId="a")', 1, 13, "found ')'"),
        ("insertId=(a OR )", 1, 16, "expected a value"),
        ("()", 1, 2, "expected a comparison"),
        ('insertId="a" AND', 1, 17, "expected a comparison, found the end"),
        ('insertId="a" OR', 1, 16, "expected a comparison"),
        ('AND insertId="a"', 1, 1, "expected a comparison, found 'AND'"),
        ("NOT", 1, 4, "expected a comparison"),
        ("severity>=LOUD", 1, 11, "no severity"),
        ('timestamp>"yesterday"', 1, 11, "no RFC 3339 timestamp"),
        ('timestamp>"2026-01-01T00:00:00"', 1, 11, "no RFC 3339 timestamp"),
        ("timestamp=~x", 1, 10, "compares text"),
        ("httpRequest.status=many", 1, 20, "no number"),
        ("httpRequest.latency>5", 1, 21, "no duration"),
        ("traceSampled=yes", 1, 14, "neither true nor false"),
        ("traceSampled>true", 1, 13, "does not compare a bool"),
        ('insertId=~"("', 1, 11, "no regular expression"),
        ('insertId=~"(?=a)"', 1, 11, "RE2 has no"),
        ("sample(insertId, 0.5)", 1, 1, "function 'sample' is not supported"),
        ("log_id(stdout)", 1, 8, "quoted id"),
        ('log_id("stdout"', 1, 16, "expected ')'"),
        ("jsonPayload.=1", 1, 13, "expected a key"),
        ("insertId=*", 1, 10, "expected a value"),
        ("jsonPayload.a IN (1)", 1, 15, "expected an operator"),
        ("(" * 101 + "insertId=a", 1, 101, "parentheses within each other"),
        ("x" * (LONGEST + 1), 1, LONGEST + 1, "longer than"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(
    text: str, line: int, column: int, problem: str
) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column), str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("path", sorted(FILTERS.glob("*.lql")), ids=lambda path: path.name)
def test_the_filters_of_the_sinks_are_understood(path: Path) -> None:
    assert not parse(path.read_text()).matches({})


@given(st.text(alphabet='andORNT =!~<>:()".-*\\1\nresource', max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with suppress(FilterError):
        assert parse(text).matches(ENTRY) in (True, False)
