"""The project of docs/django.md runs as printed."""

import re
from pathlib import Path

import psycopg
import pytest

from tests.contrib.django import test_example
from tests.walk import blocks

PAGE = Path(__file__).parents[3] / "docs" / "django.md"

environ = test_example.environ
pytestmark = pytest.mark.slow

# What each project of Django's has anyway.
SETTINGS = """
from django import VERSION
from examples.django.shop.settings import *
from examples.django.shop.settings import database
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = [app for app in INSTALLED_APPS if app not in {"orders", "taskq.contrib.django"}]
INSTALLED_APPS += ["shop"]
"""
URLS = """
from django.urls import path
from shop.views import create_order
urlpatterns = [path("orders/", create_order)]
"""
MODELS = """
from django.db import models
class Order(models.Model):
    receipts = models.IntegerField(default=0)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the page; what it says of a file in several places is one after the other."""
    files = {"settings.py": SETTINGS, "urls.py": URLS, "models.py": MODELS, "__init__.py": ""}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        named = re.match(r"# (\w+\.py)\n", block)
        assert named, f"a block names no file: {block}"
        files[named[1]] = files.get(named[1], "") + block
    (tmp_path / "shop").mkdir()
    for name, text in files.items():
        (tmp_path / "shop" / name).write_text(text)
    manage = (test_example.PROJECT / "manage.py").read_text()
    (tmp_path / "manage.py").write_text(manage)
    return tmp_path


def test_the_project_of_the_page_runs(
    project: Path,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    connection: psycopg.Connection,
) -> None:
    monkeypatch.setattr(test_example, "PROJECT", project)
    environ["PYTHONPATH"] = str(PAGE.parents[1])
    assert "OK" in test_example.manage(environ, "test", "--noinput", "shop")
    assert "no issues" in test_example.manage(environ, "check")
    test_example.manage(environ, "migrate", "--run-syncdb")
    [console] = blocks(PAGE, "console")
    for step in re.split(r"^\$ python manage.py ", console, flags=re.MULTILINE)[1:]:
        command, *says = step.splitlines()
        said = test_example.manage(environ, *command.split())
        assert all(line in said for line in says)
    assert "count_orders" not in test_example.manage(environ, "taskq", "tasks", "list")
    listed = test_example.manage(environ, "taskq", "--database", "reports", "tasks", "list")
    assert "count_orders" in listed
