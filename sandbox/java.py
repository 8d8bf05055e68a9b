"""What all Java parts share: small heaps, a quick start, a log to standard output."""

from __future__ import annotations

from pathlib import Path

# Serial collector and first-tier compiler: less memory and CPU for programs that idle most of the time.
SMALL = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true")

_LOG4J = """\
rootLogger.level = {root}
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{{yyyy-MM-dd HH:mm:ss.SSS}} %-5p %c{{1}} - %m%n%throwable
"""


def write_log4j(path: Path, *, root: str, levels: dict[str, str]) -> None:
    """Write a log4j2 configuration that logs to standard output; ``levels`` is by logger name."""
    lines = [_LOG4J.format(root=root)]
    for number, (logger, level) in enumerate(sorted(levels.items())):
        lines.append(f"logger.l{number}.name = {logger}\nlogger.l{number}.level = {level}\n")
    path.write_text("".join(lines), encoding="utf-8")


def java_argv(java: str, *options: str, log4j: Path, temporary: Path, classpath: Path, main: str) -> list[str]:
    """The start of a command line: the arguments of ``main`` come after it."""
    return [
        java,
        *SMALL,
        *options,
        f"-Djava.io.tmpdir={temporary}",
        f"-Dlog4j2.configurationFile={log4j}",
        f"-Dlog4j.configurationFile={log4j}",
        "-cp",
        f"{classpath}/*",
        main,
    ]
