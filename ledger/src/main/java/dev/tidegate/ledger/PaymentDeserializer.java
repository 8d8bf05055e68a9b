package dev.tidegate.ledger;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Reads a payment. One that cannot be read fails the job and says where it stands: money is not skipped. */
final class PaymentDeserializer implements KafkaRecordDeserializationSchema<Payment> {
    private static final long serialVersionUID = 1L;

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Payment> out)
            throws IOException {
        if (record.value() == null) {
            throw new IOException("no value in " + position(record));
        }
        try {
            out.collect(Payment.parse(new String(record.value(), StandardCharsets.UTF_8)));
        } catch (IllegalArgumentException e) {
            throw new IOException("not a payment in " + position(record), e);
        }
    }

    @Override
    public TypeInformation<Payment> getProducedType() {
        return TypeInformation.of(Payment.class);
    }

    private static String position(ConsumerRecord<byte[], byte[]> record) {
        return record.topic() + " partition " + record.partition() + " offset " + record.offset();
    }
}
