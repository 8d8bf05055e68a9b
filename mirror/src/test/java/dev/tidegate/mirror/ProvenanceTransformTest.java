package dev.tidegate.mirror;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.stream.StreamSupport;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.header.ConnectHeaders;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.header.Headers;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.Transformation;
import org.junit.jupiter.api.Test;

class ProvenanceTransformTest {
    private static ProvenanceTransform towards(String target) {
        ProvenanceTransform transform = new ProvenanceTransform();
        transform.configure(Map.of(ProvenanceTransform.TARGET, target));
        return transform;
    }

    private static SourceRecord mirrored(String cluster, long offset, Headers headers) {
        return new SourceRecord(
            Map.of("cluster", cluster, "topic", "payments", "partition", 2),
            Map.of("offset", offset),
            "payments", 2, Schema.OPTIONAL_BYTES_SCHEMA, bytes("key"), Schema.BYTES_SCHEMA, bytes("value"), 1234L,
            headers);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static List<Provenance> all(SourceRecord record, String name) {
        return StreamSupport.stream(record.headers().spliterator(), false)
            .filter(header -> header.key().equals(name))
            .map(Header::value)
            .map(value -> Provenance.decode((byte[]) value))
            .toList();
    }

    @Test
    void aNativeRecordGetsBothHeadersAndNothingElseChanges() {
        Headers headers = new ConnectHeaders().addBytes("event-id", bytes("7"));
        SourceRecord before = mirrored("east", 41, headers);

        SourceRecord after = towards("west").apply(before);

        Provenance here = new Provenance("east", "payments", 2, 41);
        assertThat(all(after, ProvenanceTransform.ORIGIN)).containsExactly(here);
        assertThat(all(after, ProvenanceTransform.HOP)).containsExactly(here);
        assertThat(after.headers().lastWithName("event-id").value()).isEqualTo(bytes("7"));
        assertThat(after.topic()).isEqualTo("payments");
        assertThat(after.kafkaPartition()).isEqualTo(2);
        assertThat(after.key()).isEqualTo(bytes("key"));
        assertThat(after.value()).isEqualTo(bytes("value"));
        assertThat(after.timestamp()).isEqualTo(1234L);
        assertThat(after.sourcePartition()).isEqualTo(before.sourcePartition());
        assertThat(after.sourceOffset()).isEqualTo(before.sourceOffset());
        assertThat(before.headers().size()).as("the record given in stays as it was").isEqualTo(1);
    }

    @Test
    void theSecondMirrorKeepsTheOriginAndReplacesTheHop() {
        SourceRecord inWest = towards("west").apply(mirrored("east", 41, new ConnectHeaders()));
        ConnectHeaders carried = new ConnectHeaders();
        inWest.headers().forEach(carried::add);

        SourceRecord inNorth = towards("north").apply(mirrored("west", 63, carried));

        assertThat(all(inNorth, ProvenanceTransform.ORIGIN))
            .containsExactly(new Provenance("east", "payments", 2, 41));
        assertThat(all(inNorth, ProvenanceTransform.HOP))
            .containsExactly(new Provenance("west", "payments", 2, 63));
    }

    @Test
    void whatOriginatesInTheTargetIsDropped() {
        SourceRecord inWest = towards("west").apply(mirrored("east", 41, new ConnectHeaders()));
        ConnectHeaders carried = new ConnectHeaders();
        inWest.headers().forEach(carried::add);

        assertThat(towards("east").apply(mirrored("west", 63, carried))).isNull();
    }

    @Test
    void applyingItTwiceToTheSameRecordGivesTheSame() {
        SourceRecord before = mirrored("east", 41, new ConnectHeaders());
        ProvenanceTransform transform = towards("west");

        transform.apply(before);
        SourceRecord again = transform.apply(before);

        assertThat(all(again, ProvenanceTransform.ORIGIN)).containsExactly(new Provenance("east", "payments", 2, 41));
        assertThat(all(again, ProvenanceTransform.HOP)).containsExactly(new Provenance("east", "payments", 2, 41));
        assertThat(again.headers().size()).isEqualTo(2);
    }

    @Test
    void aRecordThatDoesNotSayWhereItWasReadIsRefused() {
        SourceRecord heartbeat = new SourceRecord(Map.of("sourceClusterAlias", "east"), Map.of("offset", 0L),
            "heartbeats", 0, Schema.BYTES_SCHEMA, bytes(""));

        assertThatThrownBy(() -> towards("west").apply(heartbeat)).isInstanceOf(DataException.class);
    }

    @Test
    void aDamagedOriginIsRefused() {
        Headers headers = new ConnectHeaders().addBytes(ProvenanceTransform.ORIGIN, bytes("nonsense"));

        assertThatThrownBy(() -> towards("west").apply(mirrored("east", 41, headers)))
            .isInstanceOf(DataException.class);
    }

    @Test
    void withoutATargetItIsNotConfigured() {
        assertThatThrownBy(() -> new ProvenanceTransform().configure(Map.of())).isInstanceOf(ConfigException.class);
    }

    @Test
    @SuppressWarnings("rawtypes")
    void connectFindsItAsAService() {
        assertThat(ServiceLoader.load(Transformation.class).stream().map(ServiceLoader.Provider::type))
            .anyMatch(type -> type == ProvenanceTransform.class);
    }
}
