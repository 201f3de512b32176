"""rescind: make trained models forget data on request, and show it with evidence."""
