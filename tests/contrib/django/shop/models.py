"""What jobs are committed with."""

from django.db import models


class Order(models.Model):
    """An order."""

    paid = models.BooleanField(default=False)
