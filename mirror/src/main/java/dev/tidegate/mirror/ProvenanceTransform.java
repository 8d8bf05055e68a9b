package dev.tidegate.mirror;

import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.common.config.ConfigDef.NonEmptyString;
import org.apache.kafka.common.config.ConfigDef.Type;
import org.apache.kafka.connect.components.Versioned;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.header.Headers;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Puts provenance on each record that MirrorMaker 2 mirrors, and drops what would go back to where it came from.
 *
 * <p>Two headers. <em>Origin</em> is where the record was first written; it is set once and kept by every later mirror.
 * <em>Hop</em> is where this mirror read it; each mirror replaces it. So a position in the source can be found in the
 * target exactly (first record whose hop is at or behind it), whatever markers and aborted records lie between.
 *
 * <p>A record whose origin is the target cluster is dropped: with topics of the same name on both sides it would
 * otherwise go round for ever.
 *
 * <p>What MirrorSourceTask gives with each record (org.apache.kafka.connect.mirror.MirrorUtils): source partition
 * {@code {cluster, topic, partition}}, source offset {@code {offset}}. A record without them is refused, for a record
 * without provenance would silently be taken for a native one.
 */
public final class ProvenanceTransform implements Transformation<SourceRecord>, Versioned {
    /** Header: where the record was first written. */
    public static final String ORIGIN = "tidegate.origin";
    /** Header: where the last mirror read it. */
    public static final String HOP = "tidegate.hop";
    /** Setting: the name of the cluster that is mirrored to. */
    public static final String TARGET = "target.cluster";

    private static final ConfigDef CONFIG = new ConfigDef()
        .define(TARGET, Type.STRING, ConfigDef.NO_DEFAULT_VALUE, new NonEmptyString(), Importance.HIGH,
            "Name of the cluster that is mirrored to: records that originate there are dropped.");

    private String target;

    @Override
    public void configure(Map<String, ?> settings) {
        target = (String) CONFIG.parse(settings).get(TARGET);
    }

    @Override
    public SourceRecord apply(SourceRecord record) {
        Provenance here = read(record);
        byte[] known = known(record.headers());
        Provenance origin = known == null ? here : Provenance.decode(known);
        if (origin.cluster().equals(target)) {
            return null;
        }
        // A copy: Connect hands the same record in again when it tries a batch anew.
        Headers headers = record.headers().duplicate();
        headers.remove(HOP);
        headers.remove(ORIGIN);
        headers.add(ORIGIN, known == null ? here.encode() : known, Schema.BYTES_SCHEMA);
        headers.add(HOP, here.encode(), Schema.BYTES_SCHEMA);
        return record.newRecord(record.topic(), record.kafkaPartition(), record.keySchema(), record.key(),
            record.valueSchema(), record.value(), record.timestamp(), headers);
    }

    @Override
    public ConfigDef config() {
        return CONFIG;
    }

    @Override
    public String version() {
        String version = ProvenanceTransform.class.getPackage().getImplementationVersion();
        return version == null ? "unpackaged" : version;
    }

    @Override
    public void close() {
        // Holds nothing.
    }

    private static Provenance read(SourceRecord record) {
        Map<String, ?> partition = record.sourcePartition();
        Map<String, ?> offset = record.sourceOffset();
        if (partition != null
            && offset != null
            && partition.get("cluster") instanceof String cluster
            && partition.get("topic") instanceof String topic
            && partition.get("partition") instanceof Number number
            && offset.get("offset") instanceof Number at) {
            return new Provenance(cluster, topic, number.intValue(), at.longValue());
        }
        throw new DataException("not a record of MirrorSourceConnector: source partition " + partition
            + ", source offset " + offset);
    }

    private static byte[] known(Headers headers) {
        Header origin = headers.lastWithName(ORIGIN);
        if (origin == null) {
            return null;
        }
        if (origin.value() instanceof byte[] bytes) {
            return bytes;
        }
        throw new DataException("header " + ORIGIN + " is not bytes: is header.converter ByteArrayConverter?");
    }
}
