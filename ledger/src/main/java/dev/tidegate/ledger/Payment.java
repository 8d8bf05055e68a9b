package dev.tidegate.ledger;

/**
 * One input record: the text {@code id,account,sequence,amount} (UTF-8).
 *
 * @param id unique, {@code <account>:<sequence>}
 * @param account for example {@code a00017}; the record's key
 * @param sequence of the account's payments, from 1 upward; carried through, never checked
 * @param amount in cents, signed
 */
public record Payment(String id, String account, long sequence, long amount) {
    private static final int FIELDS = 4;

    /**
     * @throws IllegalArgumentException if the text has not exactly these four fields, or a number is none
     */
    public static Payment parse(String text) {
        String[] fields = text.split(",", -1);
        if (fields.length != FIELDS) {
            throw new IllegalArgumentException(
                    "expected id,account,sequence,amount but got " + fields.length + " fields: " + text);
        }
        return new Payment(fields[0], fields[1], Long.parseLong(fields[2]), Long.parseLong(fields[3]));
    }

    /** The text that {@link #parse} reads. */
    public String text() {
        return id + ',' + account + ',' + sequence + ',' + amount;
    }
}
