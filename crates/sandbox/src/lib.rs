//! Private RabbitMQ and MariaDB for tests and the demo
