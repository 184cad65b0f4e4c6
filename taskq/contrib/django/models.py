"""taskq's tables as models that are only read: jobs are changed by ``app.job_manager``."""

from functools import cached_property
from typing import Any, NoReturn

from django.db import NotSupportedError, models

from taskq.contrib.django.application import get_app
from taskq.contrib.django.configuration import read_configuration
from taskq.job import Job as TaskqJob
from taskq.job import JobStatus


class TaskqManager(models.Manager):
    """Reads the database that has the jobs, whatever the routers say."""

    def get_queryset(self) -> Any:
        """All rows, in that database."""
        return super().get_queryset().using(read_configuration().database)


class TaskqModel(models.Model):
    """A table of taskq's."""

    objects: Any = TaskqManager()

    class Meta:
        """taskq makes the table, and changes it."""

        abstract = True
        managed = False
        default_permissions: tuple[str, ...] = ("view", "change", "delete")

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a row that is written past taskq would be neither checked nor notified."""
        raise NotSupportedError(
            f"{type(self).__name__} is only read: tasks defer jobs, and app.job_manager changes them"
        )

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, likewise."""
        raise NotSupportedError(
            f"{type(self).__name__} is only read: app.job_manager.delete_jobs(ids=[…]) deletes jobs"
        )


class Job(TaskqModel):
    """A job. Its arguments and its result are in ``stored``."""

    id: Any = models.BigIntegerField(primary_key=True)
    task_name: Any = models.TextField("task")
    queue_name: Any = models.TextField("queue")
    status: Any = models.CharField(
        max_length=9, choices=[(status.value, status.value) for status in JobStatus]
    )
    priority: Any = models.IntegerField()
    attempt: Any = models.IntegerField()
    lock: Any = models.TextField(null=True)
    queueing_lock: Any = models.TextField("queueing lock", null=True)
    limit_key: Any = models.TextField("limit", null=True)
    worker_id: Any = models.BigIntegerField("worker", null=True)
    deferred_at: Any = models.DateTimeField("deferred")
    scheduled_at: Any = models.DateTimeField("scheduled", null=True)
    started_at: Any = models.DateTimeField("started", null=True)
    finished_at: Any = models.DateTimeField("finished", null=True)

    class Meta(TaskqModel.Meta):
        """The table of jobs."""

        abstract = False
        db_table = "taskq_jobs"
        verbose_name = "job"

    def __str__(self) -> str:
        return f"{self.id} ({self.task_name})"

    @cached_property
    def stored(self) -> TaskqJob:
        """The job as the job manager reads it, with its arguments and its result; read once.

        Raises:
            JobNotFound: It has been deleted.
        """
        return get_app().job_manager.get_job(self.pk)

    @classmethod
    def of(cls, job: TaskqJob) -> "Job":
        """A job that the job manager has read, as a model."""
        return cls(
            queue_name=job.queue,
            status=job.status.value,
            **{
                field.attname: getattr(job, field.attname)
                for field in cls._meta.fields
                if field.attname not in {"queue_name", "status"}
            },
        )


class Worker(TaskqModel):
    """A worker that runs, or did when it last said so."""

    id: Any = models.BigIntegerField(primary_key=True)
    name: Any = models.TextField()
    host: Any = models.TextField(null=True)
    version: Any = models.TextField(null=True)
    concurrency: Any = models.IntegerField()
    stopping: Any = models.BooleanField()
    started_at: Any = models.DateTimeField("started")
    last_heartbeat: Any = models.DateTimeField("last heartbeat")

    class Meta(TaskqModel.Meta):
        """The table of workers."""

        abstract = False
        db_table = "taskq_workers"
        verbose_name = "worker"

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"
