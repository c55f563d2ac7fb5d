"""Events carried on: from Kafka or files of JSON lines to a sink."""
