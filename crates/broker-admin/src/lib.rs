//! Client of RabbitMQ's management API: users, rights, queues.
