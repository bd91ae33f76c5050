"""VIEW: anywidget classes; a view may miss a change, it never waits."""
