"""What the pages say is there: files, make targets, commands; and nothing of the machine they were written on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, links, missing_lines, text_of


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    here = (ROOT / page).parent
    relative = [link for link in links(page) if not link.startswith(("https://", "http://127.0.0.1", "#"))]
    gone = [link for link in relative if not (here / link.partition("#")[0]).exists()]
    assert not gone


@pytest.mark.parametrize("page", PAGES)
def test_anchors_are_headings(page: str) -> None:
    for link in links(page):
        target, mark, anchor = link.partition("#")
        if not mark or target.startswith("http"):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, (page, link)


@pytest.mark.parametrize("page", PAGES)
def test_no_path_of_a_machine_and_no_host_but_loopback(page: str) -> None:
    text = text_of(page)
    assert not re.findall(r"(?<![\w.~-])/(?:work|home|root|tmp|Users|var|opt)/[\w./-]*", text)
    hosts = {host for host in re.findall(r"https?://([^/\s:\"'`)]+)", text) if "{" not in host}
    assert hosts <= {"127.0.0.1", "localhost", "HOST", "keepachangelog.com", "semver.org", "www.apache.org"}
    assert not re.findall(r"\b(?:\d{1,3}\.){3}\d{1,3}\b", text.replace("127.0.0.1", ""))


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (page, name)
        for page in PAGES
        for name in re.findall(r"(?:`|^|\$ )make ([a-z][a-z-]*)", text_of(page), re.MULTILINE)
    }
    assert {name for _, name in named} >= {"demo", "test", "matrix", "bench", "check", "up", "down"}
    assert not {(page, name) for page, name in named if name not in targets}


def test_files_named_in_the_architecture_exist() -> None:
    named = re.findall(
        r"`((?:tidegate|activities|workflows|workers|sandbox|ledger|tests|runbooks)/[\w./-]+)`",
        text_of("ARCHITECTURE.md"),
    )
    assert len(named) > 40
    assert not [path for path in named if not (ROOT / path).exists()]


def test_tests_named_in_the_architecture_exist() -> None:
    """A rule is proven by the test that is named beside it."""
    named = re.findall(r"`(test_\w+)`", text_of("ARCHITECTURE.md"))
    assert len(named) > 20
    sources = [*(ROOT / "tests").rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    assert not [name for name in named if f"def {name}(" not in code]


def test_every_page_is_known_here() -> None:
    """A page that is added is tested, too."""
    there = {str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("runbooks/*.md"))}
    assert there <= set(PAGES)


def test_an_output_that_differs_is_seen() -> None:
    """The comparison can fail."""
    printed = (
        "operation  upgrade-ledger-7c1f09ab\n  1 observe     ok       0.4 s  job 5bfb1234… RUNNING, lag 12\ndone\n"
    )
    assert not list(missing_lines("operation upgrade-ledger-00000000\n…\ndone", printed))
    assert list(missing_lines("done\noperation upgrade-ledger-00000000", printed))
    assert list(missing_lines("undone", printed))
    assert list(missing_lines("  1 observe ok 0.1 s job 11112222… RUNNING, no lag", printed))


def test_there_are_blocks_to_run() -> None:
    run = [block for page in PAGES for block in blocks(page) if block.is_test]
    assert len(run) > 10
    assert {Path(block.page).name for block in run} >= {"README.md", "start-deployment.md", "upgrade-deployment.md"}
