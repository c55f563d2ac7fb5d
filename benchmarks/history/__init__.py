"""The history of measurements: read from files of events or Elasticsearch, and served as a page."""
