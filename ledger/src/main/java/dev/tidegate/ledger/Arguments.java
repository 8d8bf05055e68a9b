package dev.tidegate.ledger;

import java.util.HashMap;
import java.util.Map;
import java.util.Properties;

/**
 * The program's arguments, as {@code --name value} pairs.
 *
 * @param bootstrap Kafka's bootstrap servers
 * @param input topic of payments
 * @param output topic of balances
 * @param group consumer group to which positions are committed, for people to see: they are restored from state
 * @param transactionalPrefix used verbatim as the sink's prefix
 * @param transactionTimeoutMs at most what the broker allows (transaction.max.timeout.ms, 900,000 by default)
 * @param kafka further client properties, for source and sink alike
 */
public record Arguments(
        String bootstrap,
        String input,
        String output,
        String group,
        String transactionalPrefix,
        int transactionTimeoutMs,
        Properties kafka) {
    static final int DEFAULT_TRANSACTION_TIMEOUT_MS = 600_000;
    static final String USAGE =
            "usage: --bootstrap HOST:PORT --input TOPIC --output TOPIC --group GROUP --transactional-prefix PREFIX"
                    + " [--transaction-timeout-ms MS] [--kafka-property KEY=VALUE]...";

    /**
     * @throws IllegalArgumentException naming the argument that is missing, unknown, doubled or no number
     */
    public static Arguments parse(String... args) {
        Map<String, String> values = new HashMap<>();
        Properties kafka = new Properties();
        for (int i = 0; i < args.length; i += 2) {
            String name = args[i];
            if (i + 1 == args.length) {
                throw new IllegalArgumentException(name + " has no value; " + USAGE);
            }
            String value = args[i + 1];
            switch (name) {
                case "--kafka-property" -> addProperty(kafka, value);
                case "--bootstrap",
                        "--input",
                        "--output",
                        "--group",
                        "--transactional-prefix",
                        "--transaction-timeout-ms" -> {
                    if (values.put(name, value) != null) {
                        throw new IllegalArgumentException(name + " is given twice; " + USAGE);
                    }
                }
                default -> throw new IllegalArgumentException("unknown argument " + name + "; " + USAGE);
            }
        }
        return new Arguments(
                required(values, "--bootstrap"),
                required(values, "--input"),
                required(values, "--output"),
                required(values, "--group"),
                required(values, "--transactional-prefix"),
                timeout(values.get("--transaction-timeout-ms")),
                kafka);
    }

    private static void addProperty(Properties kafka, String pair) {
        int equals = pair.indexOf('=');
        if (equals < 1) {
            // The pair may be a password: it is not repeated here.
            throw new IllegalArgumentException("--kafka-property is not KEY=VALUE; " + USAGE);
        }
        kafka.setProperty(pair.substring(0, equals), pair.substring(equals + 1));
    }

    private static String required(Map<String, String> values, String name) {
        String value = values.get(name);
        if (value == null || value.isBlank()) {
            throw new IllegalArgumentException(name + " is missing; " + USAGE);
        }
        return value;
    }

    private static int timeout(String value) {
        if (value == null) {
            return DEFAULT_TRANSACTION_TIMEOUT_MS;
        }
        try {
            return Integer.parseInt(value);
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException("--transaction-timeout-ms is no number: " + value, e);
        }
    }
}
