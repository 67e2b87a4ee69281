"""Listens with oslo.messaging itself, as ceilometer does, and prints what comes: one notification a line.

Input: one JSON object with url, exchange, topic and pool. Prints "listening" first; ends when its input does, and
takes away the queue and the exchange that were made for it.
"""

import json
import logging
import sys

import oslo_messaging
from kombu import Connection, Exchange, Queue
from oslo_config import cfg

asked = json.loads(sys.stdin.readline())


class Endpoint:
    filter_rule = oslo_messaging.NotificationFilter(publisher_id=r"^holdfast\..*")

    def tell(self, context, publisher_id, event_type, payload, metadata, priority):
        print(json.dumps({
            "priority": priority, "publisher_id": publisher_id, "event_type": event_type, "payload": payload,
            "message_id": metadata["message_id"], "timestamp": metadata["timestamp"],
            "project_id": context.get("project_id"),
        }), flush=True)

    def info(self, *told):
        self.tell(*told, "info")

    def error(self, *told):
        self.tell(*told, "error")


logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
config = cfg.ConfigOpts()
config([])
transport = oslo_messaging.get_notification_transport(config, url=asked["url"])
target = oslo_messaging.Target(exchange=asked["exchange"], topic=asked["topic"])
listener = oslo_messaging.get_notification_listener(
    transport, [target], [Endpoint()], executor="threading", pool=asked["pool"])
listener.start()
print("listening", flush=True)
sys.stdin.read()
listener.stop()
listener.wait()
transport.cleanup()
with Connection(asked["url"].replace("rabbit://", "amqp://")) as connection:
    channel = connection.channel()
    Queue(asked["pool"], channel=channel).delete()
    Exchange(asked["exchange"], channel=channel).delete()
