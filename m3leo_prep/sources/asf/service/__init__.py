"""The services of NASA and the Alaska Satellite Facility: login, search, downloads."""
