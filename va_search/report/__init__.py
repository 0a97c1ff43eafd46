"""Tables and figures out of studies, as the paper shows them: one Markdown file and one HTML
file."""
