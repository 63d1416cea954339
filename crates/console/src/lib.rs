//! HTTP beside the broker: metrics and health.
