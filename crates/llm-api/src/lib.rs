//! The HTTP surface of the LLM worker: OpenAI-compatible streaming, health and readiness, slots,
//! metrics, and heartbeats to a hive.
