package dev.tidegate.readers;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.common.TopicPartition;

/**
 * Reads one region's topics and leaves out what their lineage says does not count: superseded output, and what a lost
 * region took that never crossed. A fresh reader that does so gets each record once.
 *
 * <p>The lineage is {@code lineage/TOPIC.json} of the control bucket; how it is fetched is the caller's affair. It grows
 * at a switch of regions, so it is to be given again ({@link #update}) now and then, and before a reader starts. What was
 * read before it was excluded has been read: that needs a record id.
 *
 * <p>May be used by several threads; each consumer by one, as Kafka wants it.
 */
public final class LineageReader {
    private record Lineage(long seq, Map<Integer, NavigableMap<Long, Long>> excluded) {}

    private final String region;
    private volatile Map<String, Lineage> topics = Map.of();

    /** Reads the logs of this region: offsets of another one mean nothing there. */
    public LineageReader(String region) {
        this.region = region;
    }

    /**
     * Takes a topic's lineage. One that is older than what is known is passed over.
     *
     * @return whether it was taken
     * @throws IllegalArgumentException it is no lineage, or of a later version: nothing is changed
     */
    public synchronized boolean update(String json) {
        Map<String, Object> root = object(Json.parse(json), "the lineage");
        if (number(root.get("version"), "version") != 1) {
            throw new IllegalArgumentException("the lineage is of version " + root.get("version") + "; expected 1");
        }
        if (!(root.get("topic") instanceof String topic)) {
            throw new IllegalArgumentException("the lineage names no topic");
        }
        Lineage read = new Lineage(number(root.get("seq"), "seq"), new HashMap<>());
        Lineage known = topics.get(topic);
        if (known != null && known.seq() > read.seq()) {
            return false;
        }
        object(root.get("partitions"), "partitions").forEach((name, value) -> {
            Map<String, Object> partition = object(value, "partition " + name);
            NavigableMap<Long, Long> ranges = new TreeMap<>();
            for (Object one : list(partition.getOrDefault("excluded", List.of()), "excluded")) {
                Map<String, Object> range = object(one, "a range of partition " + name);
                if (region.equals(range.get("region"))) {
                    ranges.merge(number(range.get("first"), "first"), number(range.get("last"), "last"), Math::max);
                }
            }
            read.excluded().put(Integer.valueOf(name), apart(ranges));
        });
        Map<String, Lineage> all = new HashMap<>(topics);
        all.put(topic, read);
        topics = Map.copyOf(all);
        return true;
    }

    /** Whether the record at an offset of this region's log counts. A topic without a lineage counts as a whole. */
    public boolean counts(TopicPartition partition, long offset) {
        Lineage lineage = topics.get(partition.topic());
        NavigableMap<Long, Long> ranges = lineage == null ? null : lineage.excluded().get(partition.partition());
        Map.Entry<Long, Long> before = ranges == null ? null : ranges.floorEntry(offset);
        return before == null || offset > before.getValue();
    }

    /** As {@link Consumer#poll}, without what does not count. Positions go past it, so a commit covers it. */
    public <K, V> ConsumerRecords<K, V> poll(Consumer<K, V> consumer, Duration timeout) {
        ConsumerRecords<K, V> polled = consumer.poll(timeout);
        Map<TopicPartition, List<ConsumerRecord<K, V>>> kept = new LinkedHashMap<>();
        for (TopicPartition partition : polled.partitions()) {
            List<ConsumerRecord<K, V>> records = polled.records(partition).stream()
                    .filter(record -> counts(partition, record.offset()))
                    .toList();
            if (!records.isEmpty()) {
                kept.put(partition, records);
            }
        }
        return new ConsumerRecords<>(kept, polled.nextOffsets());
    }

    /** The ranges joined where they overlap, so that the one that begins last before an offset tells all. */
    private static NavigableMap<Long, Long> apart(NavigableMap<Long, Long> ranges) {
        NavigableMap<Long, Long> joined = new TreeMap<>();
        ranges.forEach((first, last) -> {
            Map.Entry<Long, Long> before = joined.lastEntry();
            if (before != null && first <= before.getValue()) {
                joined.put(before.getKey(), Math.max(before.getValue(), last));
            } else {
                joined.put(first, last);
            }
        });
        return Collections.unmodifiableNavigableMap(joined);
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> object(Object value, String what) {
        if (value instanceof Map<?, ?> map) {
            return (Map<String, Object>) map;
        }
        throw new IllegalArgumentException(what + ": expected an object, found " + value);
    }

    private static List<?> list(Object value, String what) {
        if (value instanceof List<?> list) {
            return list;
        }
        throw new IllegalArgumentException(what + ": expected a list, found " + value);
    }

    private static long number(Object value, String what) {
        if (value instanceof Long number) {
            return number;
        }
        throw new IllegalArgumentException(what + ": expected a whole number, found " + value);
    }

    /** JSON as the JDK alone reads it: maps, lists, strings, Long, Double, Boolean, null. */
    private static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object parse(String text) {
            Json json = new Json(text);
            Object value = json.value(0);
            json.space();
            if (json.at < text.length()) {
                throw json.wrong("the end");
            }
            return value;
        }

        private Object value(int depth) {
            space();
            if (depth > 64 || at >= text.length()) {
                throw wrong("a value");
            }
            return switch (text.charAt(at)) {
                case '{' -> map(depth);
                case '[' -> items(depth);
                case '"' -> string();
                case 't' -> word("true", true);
                case 'f' -> word("false", false);
                case 'n' -> word("null", null);
                default -> figure();
            };
        }

        private Map<String, Object> map(int depth) {
            Map<String, Object> found = new LinkedHashMap<>();
            at++;
            if (next('}')) {
                return found;
            }
            do {
                space();
                String name = string();
                require(':');
                found.put(name, value(depth + 1));
            } while (next(','));
            require('}');
            return found;
        }

        private List<Object> items(int depth) {
            List<Object> found = new ArrayList<>();
            at++;
            if (next(']')) {
                return found;
            }
            do {
                found.add(value(depth + 1));
            } while (next(','));
            require(']');
            return found;
        }

        private String string() {
            require('"');
            StringBuilder found = new StringBuilder();
            while (at < text.length() && text.charAt(at) != '"') {
                char c = text.charAt(at++);
                found.append(c == '\\' ? escaped() : c);
            }
            require('"');
            return found.toString();
        }

        private char escaped() {
            if (at >= text.length()) {
                throw wrong("an escape");
            }
            char c = text.charAt(at++);
            switch (c) {
                case '"', '\\', '/':
                    return c;
                case 'b':
                    return '\b';
                case 'f':
                    return '\f';
                case 'n':
                    return '\n';
                case 'r':
                    return '\r';
                case 't':
                    return '\t';
                case 'u':
                    if (text.length() - at >= 4) {
                        at += 4;
                        return (char) Integer.parseInt(text.substring(at - 4, at), 16);
                    }
                    throw wrong("four hex digits");
                default:
                    throw wrong("an escape");
            }
        }

        private Object word(String word, Object meaning) {
            if (!text.startsWith(word, at)) {
                throw wrong(word);
            }
            at += word.length();
            return meaning;
        }

        private Object figure() {
            int start = at;
            while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            String figure = text.substring(start, at);
            try {
                if (figure.matches("-?\\d+")) {
                    return Long.valueOf(figure);
                }
                return Double.valueOf(figure);
            } catch (NumberFormatException error) {
                at = start;
                throw wrong("a value");
            }
        }

        private boolean next(char c) {
            space();
            if (at < text.length() && text.charAt(at) == c) {
                at++;
                return true;
            }
            return false;
        }

        private void require(char c) {
            if (!next(c)) {
                throw wrong("'" + c + "'");
            }
        }

        private void space() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
        }

        private IllegalArgumentException wrong(String expected) {
            return new IllegalArgumentException("not JSON at character " + at + "; expected " + expected);
        }
    }
}
