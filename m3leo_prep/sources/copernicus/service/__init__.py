"""The services of the Copernicus Data Space Ecosystem: hosts, logins, catalogue and products."""
