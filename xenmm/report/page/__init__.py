"""The pieces of the HTML report: figures as SVG and HTML, the facts for its script, style and script."""
