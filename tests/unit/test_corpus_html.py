"""Definitions in pages of all shapes that documentation has."""

from __future__ import annotations

import sys

import pytest

from models.core.errors import ServiceError
from producer.corpus.html import Definition, Page

LIST = """
<dl class="py function">
  <dt id="range"><code>class range(stop)</code> <a class="headerlink" href="#range">¶</a></dt>
  <dt><code>class range(start, stop, step=1)</code></dt>
  <dd><p>Rather   than <em>being</em> a
    function.</p><p>More.</p></dd>
  <dt id="bare"><code>bare</code><span class="viewcode-link">[source]</span></dt>
  <dd></dd>
  <dt id="next"><code>next(it)</code> <a href="x">[source]</a></dt>
  <dd><div class="versionadded"><p>New in version 3.</p></div>
      <dl class="field-list"><dt>Parameters:</dt><dd><p>it</p></dd></dl><!-- no words -->
      <p>Words of next.</p></dd>
  <dt id="last">last()</dt>
</dl>
<p>Not of last.</p>
<dl><dt id="Box"><code>class Box</code></dt>
  <dd><dl class="py method"><dt id="Box.open"><code>open()</code></dt><dd><p>Open it.</p></dd></dl></dd></dl>
<dl><dt id="old"><code>old()</code></dt>
  <dd><div class="deprecated"><p>Deprecated since 2.</p></div><ul><li><p>item</p></li></ul></dd></dl>
"""
TITLES = """
<h1>lib — things</h1>
<p><strong>Source code:</strong> <a href="x">Lib/lib.py</a></p>
<div class="note"><p class="admonition-title">Note</p><p>Words of the page.</p></div>
<h2 id="get"><code>get(a)<br></code><code>get(a, b)</code></h2><p>Get it.</p>
<h3 id="append"><code>append</code></h3><p><a href="x">View source</a></p>
<pre>@decorated append(
   x
)</pre><p>Append it.</p>
<h3 id="empty">f(x) -> int</h3>
<h3 id="if">The <code>if</code> statement</h3><table><tr><td><p>cell</p></td></tr></table><p>If words.</p>
<section id="part"><h2>A part</h2><p>Part words.</p></section>
<p><span id="anchor"></span></p><h2>Anchored</h2><p>Anchored words.</p>
<h2><a id="inner"></a>Inner <code>x</code></h2><div><p>Inner words.</p></div>
<p id="paragraph">Its own words.</p>
<span id="before"></span><dl><dt>before()</dt><dd><p>Before words.</p></dd></dl>
<p>A <span id="index-1"></span>term of the index.</p><p>No more.</p>
<div><code class="sig" id="sig">sig(a, <em>b</em>)</code></div><p>Sig words.</p>
<h2 id="foot">Foot</h2><div class="_attribution"><p class="_attribution-p">© Somebody</p></div>
"""


@pytest.mark.parametrize(
    ("page", "fragment", "signature", "text"),
    [
        (LIST, "range", "class range(stop)", "Rather than being a function."),
        (LIST, "bare", "bare", ""),
        (LIST, "next", "next(it)", "Words of next."),
        (LIST, "last", "last()", ""),
        (LIST, "Box", "class Box", ""),
        (LIST, "Box.open", "open()", "Open it."),
        (LIST, "old", "old()", "Deprecated since 2."),
        (TITLES, "get", "get(a)", "Get it."),
        (TITLES, "append", "@decorated append( x )", "Append it."),
        (TITLES, "empty", "f(x) -> int", ""),
        (TITLES, "if", "", "If words."),
        (TITLES, "part", "", "Part words."),
        (TITLES, "inner", "", "Inner words."),
        (TITLES, "paragraph", "", "Its own words."),
        (TITLES, "before", "before()", "Before words."),
        (TITLES, "index-1", "", "A term of the index."),
        (TITLES, "sig", "sig(a, b)", "Sig words."),
        (TITLES, "foot", "", ""),
    ],
)
def test_definition_excludes_text_of_its_neighbours(
    page: str, fragment: str, signature: str, text: str
) -> None:
    assert Page(page).definition(fragment) == Definition(signature, text)


def test_absent_definition_is_none() -> None:
    assert Page(LIST).definition("absent") is None


def test_page_opening_is_its_function_or_title() -> None:
    assert Page(LIST).opening({"Lib.Range", "RANGE"}) == Page(LIST).definition("range")
    assert Page(TITLES).opening({"absent"}) == Definition("", "Words of the page.")
    assert Page("<h1>f</h1><h2 id='x'>x</h2><p>of x</p>").opening(set()) == Definition("", "")
    assert Page("<p>No title.").opening(set()) == Definition("", "No title.")
    assert Page("").opening(set()) == Definition("", "")


@pytest.mark.parametrize(
    "html",
    [b"<dl><dt id=f>f(\xff\0\xc3<dd><p>x", "<dl><dt id=f>f(\ud800\0<dd><p>x", "<dl><dt id=f>f(<dd><p>x<p>"],
)
def test_broken_html_is_read_as_browsers_read_it(html: str | bytes) -> None:
    definition = Page(html).definition("f")
    assert definition is not None
    assert (definition.signature[:2], definition.text) == ("f(", "x")
    assert "\0" not in definition.signature


def test_deep_and_long_pages_are_read() -> None:
    deep = "<div>" * 5_000 + "<h2 id='x'>x</h2><p>deep</p>"
    assert Page(deep).definition("x") == Definition("", "deep")
    many = "".join(f"<dl><dt id='f{n}'>f{n}()</dt><dd><p>{n}</p></dd></dl>" for n in range(5_000))
    page = Page(many)
    assert [page.definition(f"f{n}") for n in (0, 4_999)] == [
        Definition("f0()", "0"),
        Definition("f4999()", "4999"),
    ]


def test_without_selectolax_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selectolax.lexbor", None)
    with pytest.raises(ServiceError, match=r"needs selectolax: pip install 'starmill\[retrieve\]'"):
        Page("")
