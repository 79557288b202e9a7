"""What the report page is put together from: pieces of HTML and charts as inline SVG, nothing from outside."""
