package dev.tidegate.ledger;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.PojoTypeInfo;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema.KafkaSinkContext;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RecordsTest {
    private static ConsumerRecord<byte[], byte[]> record(String value) {
        byte[] bytes = value == null ? null : value.getBytes(StandardCharsets.UTF_8);
        return new ConsumerRecord<>("payments", 3, 42L, null, bytes);
    }

    @Test
    void aPaymentIsRead() throws Exception {
        List<Payment> read = new ArrayList<>();
        new PaymentDeserializer()
                .deserialize(record("a00017:5,a00017,5,-120"), new ListCollector<>(read));
        assertThat(read).containsExactly(new Payment("a00017:5", "a00017", 5, -120));
        assertThat(read.get(0).text()).isEqualTo("a00017:5,a00017,5,-120");
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "a,b,1", "a,b,1,2,3", "a,b,x,2", "a,b,1,2.5"})
    void whatIsNoPaymentFailsWithItsPosition(String value) {
        assertThatThrownBy(
                        () ->
                                new PaymentDeserializer()
                                        .deserialize(
                                                record(value), new ListCollector<>(new ArrayList<>())))
                .hasMessage("not a payment in payments partition 3 offset 42");
    }

    @Test
    void aTombstoneFailsWithItsPosition() {
        assertThatThrownBy(
                        () ->
                                new PaymentDeserializer()
                                        .deserialize(
                                                record(null), new ListCollector<>(new ArrayList<>())))
                .hasMessage("no value in payments partition 3 offset 42");
    }

    @Test
    void oneAccountsBalancesGoToEveryPartition() {
        KafkaSinkContext context = new FixedPartitions();
        BalanceSerializer serializer = new BalanceSerializer("balances");
        assertThat(
                        IntStream.rangeClosed(1, 1000)
                                .mapToObj(i -> new BalanceChange("a1:" + i, "a1", "text"))
                                .map(change -> serializer.serialize(change, context, null))
                                .collect(
                                        Collectors.groupingBy(
                                                ProducerRecord::partition, Collectors.counting())))
                .containsOnlyKeys(0, 1, 2, 3)
                .allSatisfy((partition, count) -> assertThat(count).isBetween(150L, 350L));
    }

    @Test
    void theKeyIsTheAccount() {
        ProducerRecord<byte[], byte[]> written =
                new BalanceSerializer("balances")
                        .serialize(
                                BalanceChange.of(new Payment("a1:1", "a1", 1, 5), 5, 1),
                                new FixedPartitions(),
                                null);
        assertThat(written.key()).asString(StandardCharsets.UTF_8).isEqualTo("a1");
        assertThat(written.value()).asString(StandardCharsets.UTF_8).isEqualTo("a1:1,a1,1,5,5,1");
    }

    /** Kryo would be slower, and another thing that can differ between versions. */
    @Test
    void recordsAreSerializedByField() {
        assertThat(TypeInformation.of(Payment.class)).isInstanceOf(PojoTypeInfo.class);
        assertThat(TypeInformation.of(BalanceChange.class)).isInstanceOf(PojoTypeInfo.class);
    }

    private static final class FixedPartitions implements KafkaSinkContext {
        @Override
        public int getParallelInstanceId() {
            return 0;
        }

        @Override
        public int getNumberOfParallelInstances() {
            return 2;
        }

        @Override
        public int[] getPartitionsForTopic(String topic) {
            return new int[] {0, 1, 2, 3};
        }
    }
}
