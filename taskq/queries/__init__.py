"""The queries that what lies below the managers needs, such as the engines."""
