"""The remediator over HTTP: one module for each part of the API."""
