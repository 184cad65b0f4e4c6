"""taskq as a backend of Django's own tasks: those of Django 6, and of ``django_tasks`` before it."""
