package dev.tidegate.mirror;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.connect.errors.DataException;

/**
 * Where a record stands, or stood, in a cluster: what the headers <em>origin</em> and <em>hop</em> hold.
 *
 * <p>Their form, big-endian, nothing before or after it:
 *
 * <pre>
 * u8  version   1
 * u8  length    of the cluster's name in bytes, 1 to 255
 *     cluster   UTF-8: the name of the region as the fleet file has it
 * u8  length    of the topic's name in bytes, 1 to 249 (Kafka's limit)
 *     topic     UTF-8
 * i32 partition at least 0
 * i64 offset    at least 0
 * </pre>
 *
 * <p>{@code tidegate/mirror/provenance.py} reads the same; {@code provenance-vectors.tsv} holds both to it.
 */
record Provenance(String cluster, String topic, int partition, long offset) {
    static final byte VERSION = 1;

    Provenance {
        if (partition < 0 || offset < 0) {
            throw new DataException("no place in a log: partition " + partition + ", offset " + offset);
        }
    }

    byte[] encode() {
        byte[] clusterBytes = name(cluster);
        byte[] topicBytes = name(topic);
        ByteBuffer buffer = ByteBuffer.allocate(1 + 1 + clusterBytes.length + 1 + topicBytes.length + 4 + 8);
        buffer.put(VERSION);
        buffer.put((byte) clusterBytes.length).put(clusterBytes);
        buffer.put((byte) topicBytes.length).put(topicBytes);
        buffer.putInt(partition).putLong(offset);
        return buffer.array();
    }

    static Provenance decode(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        try {
            byte version = buffer.get();
            if (version != VERSION) {
                throw new DataException("provenance of version " + version + "; expected " + VERSION);
            }
            String cluster = readName(buffer);
            String topic = readName(buffer);
            Provenance read = new Provenance(cluster, topic, buffer.getInt(), buffer.getLong());
            if (buffer.hasRemaining()) {
                throw new DataException("provenance with " + buffer.remaining() + " bytes behind its end");
            }
            return read;
        } catch (BufferUnderflowException error) {
            throw new DataException("provenance cut off after " + bytes.length + " bytes", error);
        }
    }

    private static byte[] name(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        if (bytes.length == 0 || bytes.length > 255) {
            throw new DataException("a name of " + bytes.length + " bytes; expected 1 to 255: " + text);
        }
        return bytes;
    }

    private static String readName(ByteBuffer buffer) {
        int length = Byte.toUnsignedInt(buffer.get());
        if (length == 0) {
            throw new DataException("provenance with an empty name");
        }
        if (length > buffer.remaining()) {
            throw new BufferUnderflowException();
        }
        ByteBuffer slice = buffer.slice(buffer.position(), length);
        buffer.position(buffer.position() + length);
        try {
            return StandardCharsets.UTF_8.newDecoder()
                .onMalformedInput(CodingErrorAction.REPORT)
                .onUnmappableCharacter(CodingErrorAction.REPORT)
                .decode(slice)
                .toString();
        } catch (CharacterCodingException error) {
            throw new DataException("provenance with a name that is not UTF-8", error);
        }
    }
}
