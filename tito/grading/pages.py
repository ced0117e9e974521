"""The students' pages: a notebook that `feedback` has made and the gradebook's marks become one HTML file.

Nothing in a page runs and nothing is fetched. It is made of escaped text; only the instructor's markdown may hold
markup, and is cleaned cell by cell. A cell's text is rendered once, however many students have it.
"""

import contextlib
import html
import json
import re
import signal
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tito.grading.feedback import POLICY, STATUS, SUMMARY, clip, is_marked, sanitize_page
from tito.grading.grade import visible

CELL_SECONDS, PAGE_SECONDS = 2.0, 10.0  # of CPU: what takes longer is shown without colours
PLAIN_CELL, LONGEST_OUTPUT, LONGEST_ANSWER = 5_000, 6_000, 10_000  # characters
KEY = re.compile(r'<meta name="tito-page" content="(\w+)">')
CUT = re.compile(r"\.\.\. (shown in part: [\d,]+ characters|not shown: the notebook)")
STYLE = """
:root { color-scheme: light }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff }
main { max-width: 54rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 }
h2, h3 { font-size: 1.2rem; line-height: 1.3 }
.who, .note, .small { color: #555; font-size: .9rem }
.total { font-size: 1.2rem; font-weight: 600; margin: .5rem 0 }
pre, code { font: .85rem/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
pre { margin: .4rem 0; padding: .6rem .75rem; background: #f6f7f8; border-radius: 4px }
pre.out { background: #fff; border-left: 3px solid #ccc; border-radius: 0 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }
table.result td:nth-child(2) { white-space: nowrap }
@media (min-width: 40rem) { table.result td:first-child { min-width: 9rem } }
section { border-left: 4px solid #ccc; padding: .1rem 0 .1rem .8rem; margin: 1rem 0 }
section.passed { border-color: #1a7f37 } section.partly { border-color: #9a6700 } section.lost { border-color: #b42318 }
.state { font-weight: 600 } td.passed .state, .passed > .state { color: #14692d }
.lost .state { color: #a01d13 } .partly .state { color: #7d5400 }
.why { font: .85rem/1.45 ui-monospace, monospace; white-space: pre-wrap; margin: .3rem 0 }
summary { cursor: pointer; padding: .25rem 0; color: #0a58a5 }
a { color: #0a58a5 } img { max-width: 100%; height: auto } blockquote { margin: 0; padding-left: 1rem; color: #444 }
.comment { background: #fff8e1; padding: .5rem .75rem; border-radius: 4px; white-space: pre-wrap }
@media (max-width: 40rem) {
  table.result, table.result tbody, table.result tr, table.result td { display: block }
  table.result thead { display: none } table.result td { border: 0; padding: 0 }
  table.result tr { border-bottom: 1px solid #ddd; padding: .5rem 0 }
}
"""


class SlowError(BaseException):
    """It takes too long. Not an Exception, so that nothing on the way catches it."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """SlowError after so much CPU time; in the main thread of a process."""

    def ring(*_):
        raise SlowError

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class Colours:
    """Renders texts, each distinct one once; what takes too long, or fails, is shown as it was typed."""

    def __init__(self):
        import mistune
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        self.formatter = HtmlFormatter(nowrap=True, style="default")
        lexer, plugins = PythonLexer(stripnl=False), ["table", "strikethrough", "math"]
        lesson = mistune.create_markdown(escape=False, plugins=plugins)
        for name in ("inline_math", "block_math"):  # as it was typed: nothing in the page could draw it
            lesson.renderer.register(name, lambda renderer, text: f"<code>{html.escape(text)}</code>")
        answer = mistune.create_markdown(escape=True, plugins=["table"])
        self.style = self.formatter.get_style_defs("pre")
        cached = lru_cache(maxsize=4000)
        self.code = cached(lambda text: f"<pre>{self._tried(highlight, text, lexer, self.formatter)}</pre>")
        self.lesson = cached(lambda text: self._written(lesson, text))
        self.answer = cached(lambda text: self._written(answer, text))
        self.end = None

    @contextlib.contextmanager
    def page(self) -> Iterator[None]:
        """The time of a page runs within the block."""
        self.end = time.process_time() + PAGE_SECONDS
        try:
            yield
        finally:
            self.end = None

    def _tried(self, render, text: str, *words) -> str:
        left = PAGE_SECONDS if self.end is None else self.end - time.process_time()
        try:
            if left > 0:
                with at_most(min(CELL_SECONDS, left)):
                    return render(text, *words)
        except (SlowError, Exception):
            pass
        return html.escape(text)

    def _written(self, render, text: str) -> str:
        found = self._tried(lambda text: sanitize_page(render(text)), text)
        return found if found.startswith("<") else f'<div class="why">{found}</div>'


class Plain:
    """Renders nothing: every text as it was typed, and cut."""

    style = ""

    def code(self, text: str) -> str:
        """Code, or anything, in plain letters."""
        return f"<pre>{html.escape(clip(text, '', PLAIN_CELL))}</pre>"

    lesson = answer = code

    def page(self):
        """Takes no time worth a limit."""
        return contextlib.nullcontext()


def key_of(page: Path) -> str:
    """The key of what a page was made from; empty if it is no page of ours."""
    try:
        with open(page, encoding="utf-8") as file:
            found = KEY.search(file.read(1000))
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1] if found else ""


def render(job: dict, colours: Colours | Plain) -> str:
    """The page of a job: `marked`, the notebook's path; `key`; `facts`, as `service` gathers them."""
    facts = job["facts"]
    if not is_marked(Path(job["marked"])):
        raise ValueError(f"{job['marked']} was not made by tito grade run")
    cells = json.loads(Path(job["marked"]).read_text(encoding="utf-8"))["cells"]
    with colours.page():
        body = [_head(facts, isinstance(colours, Plain)), _table(facts), *_notes(facts), *_cut(cells)]
        body.append("<h2>Your notebook</h2>")
        body += (_cell(cell, facts, colours) for cell in cells if cell["id"] != SUMMARY)
    title = html.escape(f"{facts['number']} {facts['title']}: your result")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="tito-page" content="{job["key"]}"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f'<style>{STYLE}{colours.style}</style></head>\n<body><main id="top">\n'
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _head(facts: dict, plain: bool) -> str:
    total = facts["total"]
    lines = [f"<h1>{_text(facts['number'])} {_text(facts['title'])}</h1>"]
    who = [facts["student"], facts["name"], f"{facts['notebook']}.ipynb", facts["handed_in"]]
    lines.append(f'<p class="who">{" · ".join(_text(part) for part in who if part)}</p>')
    lines.append(f'<p class="total">{total["score"]:g} of {total["most"]:g} points</p>')
    more = []
    if total["bonus_most"]:
        more.append(f"Bonus, which is counted apart: {total['bonus']:g} of {total['bonus_most']:g}.")
    if total["penalty"]:
        more.append(f"{total['penalty']:g} points were taken off, for {total['late_hours']:g} hours late.")
    elif total["late_hours"]:
        more.append(f"It was {total['late_hours']:g} hours late.")
    if total["waiting"]:
        more.append(f"Answers that nobody has read yet, and which count 0 points until then: {total['waiting']}.")
    if plain:
        more.append(
            "This page is plain and long cells are cut in it, because the notebook took too long to be shown whole. "
            "It was graded whole."
        )
    lines += [f"<p>{_text(sentence)}</p>" for sentence in more]
    return "\n".join(lines + ([f"<p><b>{_text(facts['reason'])}</b></p>"] if facts["reason"] else []))


def _table(facts: dict) -> str:
    rows = []
    for row in facts["rows"]:
        words = [f'<span class="state">{_text(row["state"])}</span>']
        if row["lines"] and row["state"] != "not written yet":
            words.append(f'<div class="why">{_text(clip(row["lines"][0], "", 600))}</div>')
        if row["hint"]:
            words.append(f"<div>For a hint: <code>{_text(row['hint'])}</code></div>")
        name = f'<a href="#{_anchor(row["cell"])}">{_text(row["title"] or row["cell"])}</a>'
        name += f'<div class="small">{_text(row["cell"])}</div>' if row["title"] else ""
        points = "not read yet" if row["unread"] else f"{row['points']:g} of {row['most']:g}"
        rows.append(f'<tr><td>{name}</td><td>{points}</td><td class="{_class(row)}">{"".join(words)}</td></tr>')
    head = "<thead><tr><th>exercise</th><th>points</th><th>what happened</th></tr></thead>"
    return (
        f'<h2>Your result, cell by cell</h2>\n<table class="result">{head}<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table>"
    )


def _notes(facts: dict) -> list[str]:
    if not facts["notes"]:
        return []
    return [
        "<p>Worth knowing:</p><ul>",
        *(f"<li>{_text(clip(note, '', 400))}</li>" for note in facts["notes"]),
        "</ul>",
    ]


def _cut(cells: list[dict]) -> list[str]:
    """A sentence that names the cells that are not shown whole."""
    found = [cell["id"] for cell in cells if cell["id"] != SUMMARY and CUT.search(cell["source"][-200:])]
    names = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    return [f"<p>Cut here, but graded whole: {_text(names)}.</p>"] if found else []


def _cell(cell: dict, facts: dict, colours: Colours | Plain) -> str:
    id, source = cell["id"], visible(cell["source"]).replace("\t", "    ")
    row = next((row for row in facts["rows"] if row["cell"] == id), None)
    comment = facts["comments"].get(id)
    said = f'<p class="comment"><b>Comment:</b> {_text(comment)}</p>' if comment else ""
    marks = cell["metadata"].get("nbgrader", {})
    if row and cell["cell_type"] == "code" and not marks.get("solution"):
        return _section(row, f"<details><summary>The test</summary>{colours.code(source)}</details>{said}", id, cell)
    if row:
        typed = html.unescape(clip(source, "", LONGEST_ANSWER, widest=LONGEST_ANSWER))
        return _section(row, f"<p>Your answer:</p>{colours.answer(typed)}{said}", id, None)
    if cell["cell_type"] != "code":
        return colours.lesson(source)
    if not marks.get("solution") and "-own-" not in id:
        return f"<details><summary>Given</summary>{colours.code(source)}</details>"
    outputs = "".join(_output(one) for one in cell["outputs"])
    label = f'<div class="small">your cell {_text(id)}</div>'
    return f'<div id="{_anchor(id)}">{label}{colours.code(source)}{outputs}</div>{said}'


def _section(row: dict, inside: str, id: str, cell: dict | None) -> str:
    points = f"Not read yet, of {row['most']}" if row["unread"] else f"Score: {row['points']} / {row['most']}"
    title = f"{row['title']} ({row['cell']})" if row["title"] else row["cell"]
    why = "".join(f'<div class="why">{_text(clip(line, "", 4000))}</div>' for line in row["lines"])
    hint = f"<p>For a hint: <code>{_text(row['hint'])}</code></p>" if row["hint"] else ""
    printed = "".join(_output(one) for one in cell["outputs"] if one["output_type"] == "stream") if cell else ""
    state = f'<p class="state">{_text(title)}: {_text(row["state"])}</p>'
    up = f'<p class="small">{_text(points)} · <a href="#top">to the table</a></p>'
    return f'<section id="{_anchor(id)}" class="{_class(row)}">{state}{why}{hint}{printed}{up}{inside}</section>'


def _output(output: dict) -> str:
    text = output["text"] if output["output_type"] == "stream" else "\n".join(output["traceback"])
    return f'<pre class="out">{_text(clip(text, "", LONGEST_OUTPUT))}</pre>'


def _class(row: dict) -> str:
    known = {STATUS["passed"]: "passed", STATUS["partly"]: "partly", "read": "passed", "not read yet": "partly"}
    return known.get(row["state"], "lost")


def _anchor(id: str) -> str:
    return "cell-" + re.sub(r"[^\w.-]", "_", id)


def _text(text: object) -> str:
    return html.escape(visible(str(text)))
