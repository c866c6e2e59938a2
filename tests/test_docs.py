"""The guide builds without a warning, and says what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trainer.config import Config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_every_configuration_key_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")

    def keys(model: type) -> set[str]:
        return set(model.model_fields)  # type: ignore[attr-defined]

    sections = [field.annotation for field in Config.model_fields.values() if hasattr(field.annotation, "model_fields")]
    names = keys(Config) | set().union(*map(keys, sections))
    assert len(names) > 100
    assert [name for name in sorted(names) if f"<code>{name}</code>" not in page] == []


def test_pages_fetch_nothing(site: Path) -> None:
    """Scripts, styles and images come with the site, so that it can be read without a network."""
    loads = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)"')
    assert [hit for path in site.rglob("*.html") for hit in loads.findall(path.read_text(encoding="utf-8"))] == []


def test_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 150


def test_readme_links_lead_somewhere() -> None:
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_configuration_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert Config.model_validate(yaml.safe_load(block)).name == "shop"


def test_settings_of_pre_commit_and_citation_are_yaml() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {hook["id"] for hook in hooks["repos"][0]["hooks"]} >= {"ruff-check", "ruff-format", "mypy"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["cff-version"] == "1.2.0"
