# librdkafka, told what to do in the words of Foreign.java, as far as it knows them.
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE = 30
POLL = 0.05

bootstrap = sys.argv[1]
members = {}
admin = AdminClient({"bootstrap.servers": bootstrap})


def main():
    requests = iter(lambda: sys.stdin.readline(), "")
    for line in requests:
        records = list(iter(lambda: sys.stdin.readline().rstrip("\n"), "."))
        command, *words = line.rstrip("\n").split("\t")
        try:
            for answer in COMMANDS[command](*words, *([records] if command == "produce" else [])) or []:
                print(answer)
        except Exception as failed:
            print("!" + repr(failed).replace("\n", " "))
        print(".", flush=True)


def produce(codec, records):
    producer = Producer({
        "bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5,
    })
    wrong = []

    def delivered(error, message, expected):
        if error or message.offset() != expected:
            wrong.append(f"{error or message.offset()} for the record with offset {expected}")

    for line in records:
        topic, partition, offset, timestamp, key, value, headers = line.split("\t")
        headers = [header.split("=") for header in headers.split(",") if header]
        producer.produce(
            topic, raw(value), raw(key), int(partition), timestamp=int(timestamp),
            headers=[(raw(key).decode(), raw(value)) for key, value in headers],
            on_delivery=lambda error, message, expected=int(offset): delivered(error, message, expected),
        )
        producer.poll(0)
    left = producer.flush(PATIENCE)
    if left or wrong:
        raise RuntimeError(f"{left} unsent; {wrong[:3]}")


def consumer(group):
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "heartbeat.interval.ms": 100, "fetch.wait.max.ms": 50,
        "partition.assignment.strategy": "range",
    })


def read(topic, partition, count):
    reader = consumer("unused")
    reader.assign([TopicPartition(topic, int(partition), OFFSET_BEGINNING)])
    deadline, seen = time.monotonic() + PATIENCE, 0
    while seen < int(count):
        for message in taken(reader):
            seen += 1
            yield line_of(message)
        give_up_after(deadline, f"{seen} records")
    reader.close()


def join(name, group, topic):
    members[name] = consumer(group)
    members[name].subscribe([topic])


def poll(names, count, share):
    deadline, seen, shared = time.monotonic() + PATIENCE, 0, False
    while seen < int(count) or not shared:
        shared = True
        for name in names.split(","):
            member = members[name]
            messages = taken(member)
            for message in messages:
                seen += 1
                yield name + "\t" + line_of(message)
            if messages:
                member.commit(asynchronous=False)
            shared &= len(member.assignment()) == int(share)
        give_up_after(deadline, f"{seen} records, shares {'right' if shared else 'wrong'}")


def taken(reader):
    messages = reader.consume(500, POLL)
    for message in messages:
        if message.error():
            raise RuntimeError(str(message.error()))
    return messages


def give_up_after(deadline, seen):
    if time.monotonic() > deadline:
        raise TimeoutError(seen)


def leave(name):
    members.pop(name).close()


def committed(group):
    everything = [partition for member in members.values() for partition in member.assignment()]
    asker = consumer(group)
    offsets = asker.committed(everything, PATIENCE)
    asker.close()
    return sorted(f"{partition.partition}\t{partition.offset}" for partition in offsets)


def create(topic, partitions):
    admin.create_topics([NewTopic(topic, int(partitions), 1)])[topic].result(PATIENCE)


def describe(topic):
    described = admin.list_topics(topic, PATIENCE).topics[topic]
    if described.error:
        raise RuntimeError(str(described.error))
    for number, partition in sorted(described.partitions.items()):
        yield f"{number}\t{partition.leader}\t{len(partition.replicas)}"


def topics():
    return sorted(admin.list_topics(timeout=PATIENCE).topics)


def delete(topic):
    admin.delete_topics([topic])[topic].result(PATIENCE)


def nodes():
    return [str(len(admin.list_topics(timeout=PATIENCE).brokers))]


def line_of(message):
    headers = ",".join(f"{hex_of(key.encode())}={hex_of(value)}" for key, value in message.headers() or [])
    _, timestamp = message.timestamp()
    fields = [message.topic(), message.partition(), message.offset(), timestamp]
    return "\t".join([*map(str, fields), hex_of(message.key()), hex_of(message.value()), headers])


def hex_of(value):
    return "-" if value is None else value.hex()


def raw(text):
    return None if text == "-" else bytes.fromhex(text)


COMMANDS = {
    "produce": produce, "read": read, "join": join, "poll": poll, "leave": leave, "committed": committed,
    "create": create, "describe": describe, "list": topics, "delete": delete, "nodes": nodes,
}
main()
