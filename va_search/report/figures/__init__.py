"""The figures of a report: SVG that takes the page's text colour, with the same bytes for the same
data."""
