"""Files from web servers, for all sources: logins, redirects, resumed downloads, and a cache of a bounded size."""
