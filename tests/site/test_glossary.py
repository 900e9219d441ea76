"""A second glossary, of knots: what the generator makes of it, and what it says where something does not hold."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner

from ftdemo.cli.main import main
from ftdemo.errors import DataError
from ftdemo.site import fragments
from ftdemo.site.blocks import block_problem, blocks
from ftdemo.site.check import check_site, fill
from ftdemo.site.derive import derive, load_glossary
from ftdemo.site.glossary import Glossary, Settings, Term
from ftdemo.site.links import Linker
from ftdemo.site.project import Project

KNOTS = Path(__file__).parent / "knots"
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def knots(tmp_path: Path) -> Project:
    shutil.copytree(KNOTS, tmp_path / "knots")
    return Project(tmp_path / "knots")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "knots"
    shutil.copytree(KNOTS, folder)
    return build(folder)


def build(folder: Path) -> Path:
    """Build a project strictly; the folder of its site."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_comments_are_on_a_terms_page_alone_and_only_where_the_owner_asks(knots: Project) -> None:
    overrides = Path(__file__).parents[2] / "docs" / "overrides"
    config = yaml.safe_load((knots.root / "mkdocs.yml").read_text(encoding="utf-8"))
    config["theme"]["custom_dir"] = str(overrides)
    for asked in (False, True):
        if asked:
            config["extra"] = {"giscus": {"repo": "owner/knots", "repo_id": "R", "category": "C", "category_id": "D"}}
        (knots.root / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        site = build(knots.root)
        assert ('data-repo="owner/knots"' in (site / "terms" / "knot" / "index.html").read_text("utf-8")) == asked
        assert "giscus" not in (site / "index.html").read_text("utf-8")


def change(project: Project, page: str, old: str, new: str) -> None:
    """Change a page of the glossary."""
    path = project.docs / page
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_glossary_of_another_subject_holds(knots: Project) -> None:
    assert check_site(knots, code=True) == []
    assert fill(knots) == []


def test_its_site_is_built_with_definitions_on_each_page_and_no_include_left(built: Path) -> None:
    for slug in ("knot", "bowline", "sheet-bend", "splice"):
        text = (built / "terms" / slug / "index.html").read_text(encoding="utf-8")
        assert "--8&lt;--" not in text
        assert "application/ld+json" in text
    knot = (built / "terms" / "knot" / "index.html").read_text(encoding="utf-8")
    assert "joins two ropes, also where one is thicker" in knot  # the definition of a narrower term
    assert "Compare with" in knot


@pytest.mark.parametrize(
    ("page", "old", "new", "line", "what"),
    [
        ("terms/splice.md", "contrast: [knot]", "contrast: [hitch]", 8, "`contrast`: there is no term `hitch`"),
        ("terms/splice.md", "contrast: [knot]", "related: [knot]", 8, "whose `related` does not name splice"),
        ("terms/splice.md", "contrast: [knot]", "contrast: [knot, splice]", 8, "names the term itself"),
        (
            "terms/splice.md",
            "level: advanced",
            "level: hold",
            7,
            "there is no level `hold`. The levels are: basic, advanced.",
        ),
        ("terms/splice.md", "reviewed: 2026-11-22", "reviewed: soon", 9, "`reviewed`: "),
        ("terms/splice.md", "reviewed: 2026-11-22", "reviewed: 2026-11-22\nmood: glad", 10, "`mood`: "),
        ("terms/splice.md", "level: advanced\n", "", 1, "`level`: "),
        ("terms/splice.md", "for good.\nlevel", "for ever.\nlevel", 3, "`description` differs from `summary`"),
        ("terms/splice.md", "## Related terms", "## Others", 1, "there is no part `## Related terms`"),
        ("terms/splice.md", "Strands", "TODO strands", 18, "a TODO is left"),
        ("terms/splice.md", "a [knot](knot.md)", "a knot", 18, "the first mention of knot (`knot`) is not a link"),
        ("terms/bowline.md", "([Ashley, 1944](#ashley1944))", "", 11, "source ashley1944 is never cited"),
        (
            "terms/bowline.md",
            "sources: [ashley1944]",
            "sources: []",
            21,
            "ashley1944 is cited, but not under `sources`",
        ),
        ("terms/bowline.md", "prerequisites: [knot]", "prerequisites: [bowline]", 8, "is a prerequisite of itself"),
        ("terms/knot.md", '"over", "under"', '"under", "over"', 24, "the code prints 'under over'"),
        ("terms/knot.md", 'print("over"', 'prind("over"', 24, "NameError"),
        ("terms/knot.md", "level: basic", "level: basic\ndemo: tying", 7, "there is no demos/tying/app.py"),
        ("terms/knot.md", "level: basic", "level: basic\nruns: [pull]", 7, "there is no experiment `pull`"),
        ("glossary.yaml", "terms: [knot, bowline]", "terms: [knot, hitch]", 1, "path first: there is no term `hitch`"),
        ("glossary.yaml", "[knot, bowline, sheet-bend]", "[knot, hitch]", 1, "subject Knots: there is no term `hitch`"),
        ("glossary.yaml", "[knot, bowline, sheet-bend]", "[knot, bowline]", 1, "sheet-bend is under 0 subjects"),
        ("glossary.yaml", "[knot, bowline, sheet-bend]", "[knot, bowline, sheet-bend, splice]", 1, "splice is under 2"),
        ("glossary.yaml", "bowline: [bowlin]", "bowlin: [bowlin]", 1, "also_typed: there is no term `bowlin`"),
        (
            "references.bib",
            "@book",
            "@book{x2000, author={X}, title={Y}, year={2000}}\n@book",
            1,
            "x2000 is used by no page",
        ),
    ],
)
def test_what_does_not_hold_is_reported_with_page_and_line(
    page: str, old: str, new: str, line: int, what: str, knots: Project
) -> None:
    change(knots, page, old, new)
    problems = check_site(knots, code=True)
    assert any(problem.startswith(f"docs/{page}:{line}: ") and what in problem for problem in problems), problems


def test_a_summary_longer_than_a_card_is_reported(knots: Project) -> None:
    change(knots, "terms/splice.md", "for good.", "for good" + " and all" * 20 + ".")
    (problem, *_) = [problem for problem in check_site(knots) if "`summary`" in problem]
    assert problem.startswith("docs/terms/splice.md:6: ")
    assert "200" in problem


def test_a_page_whose_head_is_no_yaml_is_reported_and_the_others_are_checked(knots: Project) -> None:
    change(knots, "terms/splice.md", "level: advanced", "level: [advanced")
    assert any(
        problem.startswith("docs/terms/splice.md:1: the page's head cannot be read") for problem in check_site(knots)
    )
    with pytest.raises(DataError, match="ftdemo site check"):
        derive(knots)


def test_a_term_that_no_other_points_at_is_reported(knots: Project) -> None:
    change(knots, "terms/splice.md", "contrast: [knot]\n", "")
    change(knots, "terms/knot.md", "contrast: [splice]\n", "")
    assert "docs/terms/splice.md:1: no other term points here. Relate it to one." in check_site(knots)


def test_prerequisites_that_run_in_a_circle_are_reported(knots: Project) -> None:
    change(knots, "terms/knot.md", "level: basic", "level: basic\nprerequisites: [sheet-bend]")
    circles = [problem for problem in check_site(knots) if "prerequisite of itself" in problem]
    assert [problem.partition(":")[0] for problem in circles] == ["docs/terms/knot.md", "docs/terms/sheet-bend.md"]


def test_code_with_an_excuse_is_not_run(knots: Project) -> None:
    change(
        knots,
        "terms/knot.md",
        "```python\nprint",
        "<!-- not run: needs a rope -->\n\n```python\nraise SystemExit\nprint",
    )
    assert check_site(knots, code=True) == []


def test_code_in_a_tab_is_run_without_its_indentation(knots: Project) -> None:
    code = "    ```python\n    for n in range(2):\n        print(n)\n    ```\n\n"
    block, _ = blocks(f'=== "A"\n\n{code}    ```text\n    0\n    1\n    ```\n')
    assert (block.line, block.printed) == (3, "0\n1\n")
    assert block_problem(block, knots) == ""


def included(knots: Project, **files: str) -> None:
    """Let the knot's page include its code and what it prints from files, each at first as it is written there."""
    for name, text in {"tie.py": 'print("over", "under")\n', "tie.txt": "over under\n", **files}.items():
        (knots.root / "docs_src" / "knot").mkdir(parents=True, exist_ok=True)
        (knots.root / "docs_src" / "knot" / name).write_text(text, encoding="utf-8")
    config = knots.root / "mkdocs.yml"
    text = config.read_text(encoding="utf-8").replace("[docs, build/derived]", "[docs, build/derived, docs_src]")
    config.write_text(text, encoding="utf-8")
    change(knots, "terms/knot.md", 'print("over", "under")', '--8<-- "knot/tie.py"')
    change(knots, "terms/knot.md", "```text\nover under", '```text\n--8<-- "knot/tie.txt"')


def test_code_that_a_page_includes_is_checked_as_code_that_is_written_there(knots: Project) -> None:
    included(knots)
    assert check_site(knots, code=True) == []


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"tie.py": 'prind("over", "under")\n'}, "the code fails: NameError"),
        ({"tie.txt": "under over\n"}, "the code prints 'over under', not what the page has"),
        ({"tie.py": "print('over\n"}, "the python cannot be read"),
    ],
)
def test_a_problem_of_included_code_is_reported_where_the_page_includes_it(
    files: dict[str, str], what: str, knots: Project
) -> None:
    included(knots, **files)
    (problem,) = check_site(knots, code=True)
    assert problem.startswith("docs/terms/knot.md:24: ")
    assert what in problem


def test_a_block_whose_file_is_not_there_is_reported(knots: Project) -> None:
    included(knots)
    (knots.root / "docs_src" / "knot" / "tie.py").unlink()
    (problem,) = check_site(knots, code=True)
    assert problem.startswith("docs/terms/knot.md:24: ")
    assert "one of the folders docs, build/derived, docs_src" in problem


@pytest.mark.parametrize(
    ("language", "code", "right"),
    [
        ("yaml", "a: [1, 2]\nb: !!python/name:knots.tie", True),
        ("yaml", "a: [1, 2", False),
        ("json", '{"a": 1}\n{"a": 2}', True),
        ("json", '{\n  "a": 1\n}', True),
        ("json", '{"a": 1}\n{"a": 2', False),
        ("sh", "for it is not read (", True),
    ],
)
def test_yaml_and_json_have_to_parse(language: str, code: str, right: bool, knots: Project) -> None:
    (block,) = blocks(f"```{language}\n{code}\n```\n")
    assert block_problem(block, knots).startswith("" if right else f"the {language} cannot be read: ")
    assert bool(block_problem(block, knots)) != right


def test_language_models_get_included_code_too(knots: Project) -> None:
    included(knots)
    derive(knots)
    assert 'print("over", "under")\n```' in (knots.docs / "llms-full.txt").read_text(encoding="utf-8")


# ---- first mentions ----


def linker(**names: tuple[str, ...]) -> Linker:
    """A linker for terms of these names."""
    kept = {"summary": "x" * 30, "level": "basic", "reviewed": "2026-11-25"}
    terms = {
        slug: Term.model_validate({"slug": slug, "title": first, "term": first, "aliases": others, **kept})
        for slug, (first, *others) in names.items()
    }
    return Linker(Glossary(Settings(name="n", about="a", levels={"basic": "First knots"}), terms))


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("Ropes. A rope and a rope.", "[Ropes](rope.md). A rope and a rope."),
        ("A tow rope pulls.", "A [tow rope](tow.md) pulls."),
        ("Two tow\nropes pull.", "Two [tow\nropes](tow.md) pull."),
        ("A tow, a rope.", "A tow, a [rope](rope.md)."),
        ("# Rope\n\nA rope.", "# Rope\n\nA [rope](rope.md)."),
        ("`rope` and <b title='rope'>rope</b>", "`rope` and <b title='rope'>[rope](rope.md)</b>"),
        ("See [the rope](rope.md) or a rope.", "See [the rope](rope.md) or a rope."),
        ("A rope. See [it](rope.md).", "A [rope](rope.md). See [it](rope.md)."),
        ("```\nrope\n```\n\nrope", "```\nrope\n```\n\n[rope](rope.md)"),
        ("    ```\n    rope\n    ```\n\nrope", "    ```\n    rope\n    ```\n\n[rope](rope.md)"),
        ('??? question "A rope?"\n\n    A rope.', '??? question "A rope?"\n\n    A [rope](rope.md).'),
        ("A tightrope, a rope-end.", "A tightrope, a rope-end."),
        ("A bend, and a BEND.", "A bend, and a [BEND](bend.md)."),
        ("A knot.", "A knot."),
        ("---\ntitle: rope\n---\n\nA rope.", "---\ntitle: rope\n---\n\nA [rope](rope.md)."),
        ("<!-- a rope --> [a rope](https://x.example)", "<!-- a rope --> [a rope](https://x.example)"),
    ],
)
def test_the_first_mention_of_a_term_becomes_a_link_and_nothing_else_does(text: str, linked: str) -> None:
    found = linker(rope=("Rope",), tow=("Tow rope",), bend=("BEND",), knot=("Knot",))
    assert found.link(text, own="knot") == linked
    assert found.link(linked, own="knot") == linked
    assert found.mentions(linked, own="knot") == []


# ---- what is derived ----


def test_related_terms_stand_with_their_relation_and_definition_and_the_rest_leads_on(knots: Project) -> None:
    glossary = load_glossary(knots)
    text = fragments.related(glossary, glossary.terms["knot"])
    narrower, contrast = text.index("**Narrower**"), text.index("**Compare with**")
    assert narrower < text.index("[Bowline](bowline.md)\n:   A bowline is a fixed loop") < contrast
    assert contrast < text.index("[Splice](splice.md)")
    assert "**See also**\n\n[Sheet bend]" in fragments.related(glossary, glossary.terms["bowline"])


def test_a_misspelling_is_on_a_terms_page_for_the_search_and_hidden_from_readers(built: Path) -> None:
    text = (built / "terms" / "bowline" / "index.html").read_text(encoding="utf-8")
    assert re.search(r"<p hidden[^>]*>Also typed: bowlin\.</p>", text)
    index = json.loads((built / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert [entry["location"] for entry in index["docs"] if "bowlin." in entry["text"]] == ["terms/bowline/"]
    assert "Also typed" not in (built / "terms" / "knot" / "index.html").read_text(encoding="utf-8")


def test_the_index_has_every_term_under_its_letter_with_level_and_summary(knots: Project) -> None:
    text = fragments.index(load_glossary(knots))
    assert re.findall(r"^## (\w)", text, re.MULTILINE) == ["B", "K", "S"]
    assert text.count('class="ft-entry') == 4
    assert re.search(r"ft-at-advanced.*\n\n\[Splice\]\(splice\.md\) \(Long splice\)", text)


def test_machines_find_every_term_with_definition_and_address(knots: Project) -> None:
    derive(knots)
    found = json.loads((knots.docs / "glossary.json").read_text(encoding="utf-8"))
    assert found["@type"] == "DefinedTermSet"
    assert {term["url"] for term in found["hasDefinedTerm"]} == {
        f"https://knots.example/terms/{slug}/" for slug in ("bowline", "knot", "sheet-bend", "splice")
    }
    bowline = next(term for term in found["hasDefinedTerm"] if term["name"] == "Bowline")
    assert bowline["alternateName"] == ["king of knots"]
    page = (knots.derived / "related" / "bowline.md").read_text(encoding="utf-8")
    script = re.search(r'<script type="application/ld\+json">(.*?)</script>', page)
    assert script is not None
    assert json.loads(script[1])["inDefinedTermSet"]["name"] == "Knots"


def test_the_feed_names_the_terms_that_were_reviewed_last_first(knots: Project) -> None:
    derive(knots)
    feed = ElementTree.parse(knots.docs / "feed.xml").getroot()
    assert [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")] == [
        "Knot",
        "Bowline",
        "Sheet bend",
        "Splice",
    ]
    assert feed.findtext(f"{ATOM}updated") == "2026-11-25T00:00:00Z"


def test_language_models_get_a_list_and_the_whole_text(knots: Project) -> None:
    derive(knots)
    listed = (knots.docs / "llms.txt").read_text(encoding="utf-8")
    assert listed.startswith("# Knots\n\n> ")
    assert "- [Splice](https://knots.example/terms/splice/): A splice joins" in listed
    whole = (knots.docs / "llms-full.txt").read_text(encoding="utf-8")
    assert "where a [knot](knot.md) would jam in the block" in whole
    assert "--8<--" not in whole


def test_an_address_from_the_environment_takes_the_place_of_the_configured_one(
    knots: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTDEMO_SITE_URL", "https://elsewhere.example/knots")
    derive(knots)
    assert "https://elsewhere.example/knots/terms/splice/" in (knots.docs / "llms.txt").read_text(encoding="utf-8")


# ---- a new term ----


def test_a_new_terms_page_fails_the_check_until_it_is_filled(knots: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(knots.root)
    done = CliRunner().invoke(main, ["new-term", "Clove hitch"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    page = "docs/terms/clove-hitch.md"
    assert any(problem.startswith(page) and "TODO" in problem for problem in check_site(knots))
    summary = "A clove hitch ties a rope to a post, for a while."
    path = knots.root / page
    text = re.sub(r'"TODO: one sentence[^"]*"', f'"{summary}"', path.read_text(encoding="utf-8"))
    text = text.replace("TODO", "It holds while it is pulled.").replace("related: []", "related: [splice]")
    path.write_text(text.replace('## Sources\n\n--8<-- "sources/clove-hitch.md"\n', ""), encoding="utf-8")
    change(knots, "terms/splice.md", "contrast: [knot]", "contrast: [knot]\nrelated: [clove-hitch]")
    change(knots, "glossary.yaml", "[splice]", "[splice, clove-hitch]")
    assert check_site(knots) == []
    derive(knots)


def test_a_page_that_exists_is_not_begun_again(knots: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(knots.root)
    before = (knots.docs / "terms" / "splice.md").read_text(encoding="utf-8")
    done = CliRunner().invoke(main, ["new-term", "Splice"])
    assert done.exit_code != 0
    assert (knots.docs / "terms" / "splice.md").read_text(encoding="utf-8") == before
