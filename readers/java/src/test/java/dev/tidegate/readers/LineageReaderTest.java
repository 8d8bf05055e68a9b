package dev.tidegate.readers;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.LongStream;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.MockConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class LineageReaderTest {
    private static final TopicPartition ZERO = new TopicPartition("balances", 0);

    private static String lineage(int seq, String... ranges) {
        return """
                {"version": 1, "topic": "balances", "seq": %d, "turn": 1, "region": "west", "gate": "open",
                 "holder": null, "partitions": {
                  "0": {"segments": [{"turn": 0, "region": "east", "epoch": null, "first": 0, "end": 9, "cut": 7}],
                        "excluded": [%s]},
                  "1": {"segments": []}}}
                """.formatted(seq, String.join(",", ranges));
    }

    private static String range(String region, long first, long last) {
        return "{\"region\": \"%s\", \"first\": %d, \"last\": %d, \"why\": \"superseded \\u0028X21)\", \"by\": \"o\"}"
                .formatted(region, first, last);
    }

    @Test
    void whatDoesNotCountIsLeftOutAndCommittedOver() {
        LineageReader reader = new LineageReader("west");
        assertThat(reader.update(lineage(3, range("west", 5, 6), range("west", 2, 3), range("east", 0, 9)))).isTrue();
        try (MockConsumer<String, String> consumer = new MockConsumer<>("earliest")) {
            consumer.assign(List.of(ZERO));
            consumer.updateBeginningOffsets(Map.of(ZERO, 0L));
            LongStream.rangeClosed(0, 6)
                    .forEach(at -> consumer.addRecord(new ConsumerRecord<>("balances", 0, at, "k", "v" + at)));

            ConsumerRecords<String, String> polled = reader.poll(consumer, Duration.ZERO);
            consumer.commitSync();

            assertThat(StreamSupport.stream(polled.spliterator(), false).map(ConsumerRecord::value))
                    .containsExactly("v0", "v1", "v4");
            assertThat(polled.nextOffsets().get(ZERO).offset()).isEqualTo(7);
            assertThat(consumer.committed(Set.of(ZERO)))
                    .containsEntry(ZERO, new OffsetAndMetadata(7, Optional.empty(), ""));
        }
    }

    /** As Tidegate writes it: tests/unit/lineage/test_read.py reads the same file. */
    @Test
    void whatTidegateWritesIsUnderstood() throws IOException {
        LineageReader reader = new LineageReader("west");
        try (InputStream file = LineageReaderTest.class.getResourceAsStream("/lineage.json")) {
            reader.update(new String(file.readAllBytes(), StandardCharsets.UTF_8));
        }
        assertThat(LongStream.range(0, 60).filter(at -> !reader.counts(ZERO, at)).boxed())
                .isEqualTo(List.of(20L, 21L, 22L, 23L, 24L, 26L));
    }

    @Test
    void whereNothingIsKnownAllOfItCounts() {
        LineageReader reader = new LineageReader("west");
        assertThat(reader.counts(ZERO, 5)).isTrue();
        reader.update(lineage(1, range("west", 5, 5)));
        assertThat(reader.counts(ZERO, 5)).isFalse();
        assertThat(reader.counts(new TopicPartition("balances", 1), 5)).isTrue();
        assertThat(reader.counts(new TopicPartition("balances", 2), 5)).isTrue();
        assertThat(reader.counts(new TopicPartition("payments", 0), 5)).isTrue();
    }

    @Test
    void rangesWithinRangesHideNothing() {
        LineageReader reader = new LineageReader("west");
        reader.update(lineage(1, range("west", 10, 30), range("west", 12, 14), range("west", 10, 11), range("west", 30, 33)));
        assertThat(LongStream.range(0, 40).filter(at -> !reader.counts(ZERO, at)).boxed())
                .isEqualTo(LongStream.rangeClosed(10, 33).boxed().toList());
    }

    @Test
    void anOlderLineageIsPassedOver() {
        LineageReader reader = new LineageReader("west");
        reader.update(lineage(4, range("west", 5, 6)));
        assertThat(reader.update(lineage(3))).isFalse();
        assertThat(reader.counts(ZERO, 5)).isFalse();
        assertThat(reader.update(lineage(5))).isTrue();
        assertThat(reader.counts(ZERO, 5)).isTrue();
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "", "{", "[1]", "{}", "{\"version\": 2}", "{\"version\": 1}", "{\"version\": 1} x", "{\"version\": --1}",
        "{\"version\": 1, \"topic\": \"t\"}", "{\"version\": 1, \"topic\": \"t\", \"seq\": 1}", "{\"a\\q\": 1}", "nul",
        "{\"version\": 1, \"topic\": \"t\", \"seq\": 1, \"partitions\": {\"0\": {\"excluded\": 5}}}",
        "{\"version\": 1, \"topic\": \"t\", \"seq\": 99999999999999999999, \"partitions\": {}}",
        "{\"version\": 1, \"topic\": \"t\", \"seq\": 1, \"partitions\": {\"x\": {}}}", "\"\\u12"
    })
    void whatIsNoLineageIsRefusedAndChangesNothing(String text) {
        LineageReader reader = new LineageReader("west");
        reader.update(lineage(1, range("west", 5, 6)));
        assertThatThrownBy(() -> reader.update(text)).isInstanceOf(IllegalArgumentException.class);
        assertThat(reader.counts(ZERO, 5)).isFalse();
    }
}
