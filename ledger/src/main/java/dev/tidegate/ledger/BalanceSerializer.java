package dev.tidegate.ledger;

import java.nio.charset.StandardCharsets;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.utils.Utils;

/**
 * Writes a balance. The partition follows from the payment's id, not from the account by which the job is keyed: so
 * every subtask writes every partition, and their transactions interleave in each.
 */
final class BalanceSerializer implements KafkaRecordSerializationSchema<BalanceChange> {
    private static final long serialVersionUID = 1L;

    private final String topic;

    BalanceSerializer(String topic) {
        this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(
            BalanceChange change, KafkaSinkContext context, Long timestamp) {
        int[] partitions = context.getPartitionsForTopic(topic);
        return new ProducerRecord<>(
                topic,
                partitions[slot(change.id(), partitions.length)],
                change.account().getBytes(StandardCharsets.UTF_8),
                change.text().getBytes(StandardCharsets.UTF_8));
    }

    static int slot(String id, int partitions) {
        return Utils.toPositive(Utils.murmur2(id.getBytes(StandardCharsets.UTF_8))) % partitions;
    }
}
