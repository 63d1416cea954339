//! A small Kafka client over our own codec, for the command line and the load generator.
