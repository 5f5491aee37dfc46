"""The connection: login, requests within the quotas, what went wrong."""
