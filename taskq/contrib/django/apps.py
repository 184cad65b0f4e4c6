"""taskq among a project's ``INSTALLED_APPS``."""

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class TaskqConfig(AppConfig):
    """Finds the tasks, checks the settings, and applies the schema with ``manage.py migrate``."""

    name = "taskq.contrib.django"
    label = "taskq"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the app of the settings, and import the tasks of each installed app."""
        # When the settings and models may be asked for.
        from taskq.contrib.django.application import get_app  # noqa: PLC0415
        from taskq.contrib.django.checks import check_database  # noqa: PLC0415
        from taskq.contrib.django.configuration import read_configuration  # noqa: PLC0415
        from taskq.contrib.django.schema import apply_after_migrate  # noqa: PLC0415

        get_app()
        checks.register(check_database)
        post_migrate.connect(apply_after_migrate, sender=self, dispatch_uid="taskq")
        if (module := read_configuration().tasks_module) is not None:
            autodiscover_modules(module)
