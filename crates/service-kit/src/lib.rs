//! Skeleton of a service: config, telemetry, watchdog, health, thin bus actors
